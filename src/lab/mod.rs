//! Ready-made topologies in network namespaces.
