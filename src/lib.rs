//! Linux Virtual Server in user space.

pub mod base;
pub mod command;
pub mod control;
pub mod engine;
pub mod host;
pub mod ipvsadm;
pub mod lab;
pub mod port;
pub mod realserver;
pub mod replay;
pub mod run;
pub mod table;
pub mod wire;
pub mod worker;
