//! A director as ipvsadm asks it: typed answers, and failures with their message.

use std::io;

use super::messages::{Operation, refusal};
use crate::control::message::{
    Access, Answer, ConnectionPage, DaemonConfig, DestinationEntry, Info, Reply, Request, ServiceEntry,
};
use crate::table::{Errno, ServiceKey, Timeouts};

/// Why something that was asked is not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// the director refused
    #[error("{}", refusal(*operation, *errno))]
    Refused { operation: Operation, errno: Errno },
    /// the way to the director broke
    #[error("The connection to the director broke: {0}")]
    Broken(#[source] io::Error),
    /// the director answered something else
    #[error("The director answered what was not asked; is it of another version?")]
    Unfitting,
    /// the output cannot be written
    #[error("Cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// The way to a director.
pub struct Director<'a>(Box<dyn Access + 'a>);

impl<'a> Director<'a> {
    pub fn new(access: Box<dyn Access + 'a>) -> Director<'a> {
        Director(access)
    }

    pub fn info(&mut self) -> Result<Info, Failure> {
        match self.ask(Request::Info)? {
            Reply::Info(info) => Ok(info),
            _ => Err(Failure::Unfitting),
        }
    }

    /// Every service, in the director's order.
    pub fn services(&mut self) -> Result<Vec<ServiceEntry>, Failure> {
        match self.ask(Request::Services)? {
            Reply::Services(services) => Ok(services),
            _ => Err(Failure::Unfitting),
        }
    }

    pub fn service(&mut self, key: ServiceKey) -> Result<ServiceEntry, Failure> {
        match self.ask(Request::Service { key })? {
            Reply::Services(services) => services.into_iter().next().ok_or(Failure::Unfitting),
            _ => Err(Failure::Unfitting),
        }
    }

    /// The destinations of each of `services`, in the same order.
    pub fn destinations(&mut self, services: &[ServiceEntry]) -> Result<Vec<Vec<DestinationEntry>>, Failure> {
        let requests = services.iter().map(|service| Request::Destinations { service: service.key }).collect();
        let answers = self.0.ask_all(requests).map_err(Failure::Broken)?;
        if answers.len() != services.len() {
            return Err(Failure::Unfitting);
        }
        let entries = answers.into_iter().map(|answer| match settle(Operation::Other, answer)? {
            Reply::Destinations(destinations) => Ok(destinations),
            _ => Err(Failure::Unfitting),
        });
        entries.collect()
    }

    pub fn timeouts(&mut self) -> Result<Timeouts, Failure> {
        match self.ask(Request::Timeouts)? {
            Reply::Timeouts(timeouts) => Ok(timeouts),
            _ => Err(Failure::Unfitting),
        }
    }

    pub fn daemons(&mut self) -> Result<Vec<DaemonConfig>, Failure> {
        match self.ask(Request::Daemons)? {
            Reply::Daemons(daemons) => Ok(daemons),
            _ => Err(Failure::Unfitting),
        }
    }

    pub fn connections(&mut self, cursor: u64) -> Result<ConnectionPage, Failure> {
        match self.ask(Request::Connections { cursor })? {
            Reply::Connections(page) => Ok(page),
            _ => Err(Failure::Unfitting),
        }
    }

    /// Makes changes one after the other; one outcome for each that was tried.
    ///
    /// # Errors
    /// The way broke, so that how far the director came is not known.
    pub fn change(&mut self, requests: Vec<Request>) -> Result<Vec<Result<(), Failure>>, Failure> {
        let operations: Vec<Operation> = requests.iter().map(Operation::of).collect();
        let answers = self.0.ask_all(requests).map_err(Failure::Broken)?;
        if answers.len() != operations.len() {
            return Err(Failure::Unfitting);
        }
        let outcomes = operations.into_iter().zip(answers);
        Ok(outcomes.map(|(operation, answer)| settle(operation, answer).map(|_| ())).collect())
    }

    fn ask(&mut self, request: Request) -> Result<Reply, Failure> {
        let operation = Operation::of(&request);
        settle(operation, self.0.ask(request).map_err(Failure::Broken)?)
    }
}

fn settle(operation: Operation, answer: Answer) -> Result<Reply, Failure> {
    answer.map_err(|errno| Failure::Refused { operation, errno })
}
