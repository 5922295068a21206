//! The machine around us: links, routes, neighbours, the guard, privileges.
