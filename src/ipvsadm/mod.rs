//! The drop-in ipvsadm.
