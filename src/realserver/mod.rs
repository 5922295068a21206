//! What a real server needs for direct routing and tunnels.
