//! A selection in the kernel: the program and the maps that it looks at.
//!
//! The program is loaded once. What it takes is changed by whoever holds the [`Selector`], entry by entry, while
//! frames come: a microsecond each. (Attaching another program takes tens of milliseconds, for which
//! the caller waits.) In between, what is taken is at most what was taken before or is to be taken after:
//! first comes what keeps frames from being taken, then what has them taken.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use crate::port::error::PortError;
use crate::port::sys::bpf::{LoadedProgram, Matching, NumberMap, ProgramKind, SocketMap};

use super::entries::{ADDRESS, Contents, PREFIX, STATION};
use super::selection::{Maps, Selection, program};
use super::{MOST_QUEUES, bpf_error};

/// How many addresses a map holds. Kernels before 5.11 count each against the memory that may be locked, so less
/// is asked for where that is refused.
const CAPACITIES: [u32; 3] = [1 << 16, 1 << 11, 1 << 8];
/// How many stations.
const STATIONS: u32 = 64;

/// What a port takes, and the means to change it while it runs.
#[derive(Debug)]
pub struct Selector {
    link: String,
    chooser: Arc<Chooser>,
    stations: Table<STATION>,
    addresses: Table<ADDRESS>,
    host: Table<PREFIX>,
    most: usize,
}

/// The loaded program, and the sockets that it leads to.
#[derive(Debug)]
pub struct Chooser {
    pub(super) program: LoadedProgram,
    pub(super) sockets: SocketMap,
}

impl Selector {
    /// A program that takes what `selection` says of the frames of `link`, as soon as a port is opened with it.
    ///
    /// # Errors
    /// The process may not, or the kernel cannot.
    pub fn new(link: &str, selection: &Selection) -> Result<Selector, PortError> {
        let at = |step| move |source| bpf_error(link, step, source);
        let sockets = SocketMap::new(MOST_QUEUES).map_err(at("making a map of sockets"))?;
        let stations = Table::new(Matching::Exact, STATIONS).map_err(at("making a map of stations"))?;
        let mut sizes = CAPACITIES.into_iter();
        let (addresses, host, most) = loop {
            let most = sizes.next().unwrap_or_default();
            let addresses = Table::new(Matching::Exact, most);
            match addresses.and_then(|addresses| Ok((addresses, Table::new(Matching::Prefix, most)?))) {
                Ok((addresses, host)) => break (addresses, host, most as usize),
                Err(_) if sizes.len() > 0 => {}
                Err(source) => return Err(bpf_error(link, "making a map of addresses", source)),
            }
        };
        let maps = Maps {
            sockets: sockets.as_raw_fd(),
            stations: stations.map.as_raw_fd(),
            addresses: addresses.map.as_raw_fd(),
            host: host.map.as_raw_fd(),
        };
        let program = program(maps).map_err(|error| io::Error::new(io::ErrorKind::ArgumentListTooLong, error));
        let program = program.and_then(|program| LoadedProgram::load(ProgramKind::Xdp, &program.bytes()));
        let program = program.map_err(at("loading a program"))?;
        let chooser = Arc::new(Chooser { program, sockets });
        let mut selector = Selector { link: link.to_owned(), chooser, stations, addresses, host, most };
        selector.select(selection)?;
        Ok(selector)
    }

    /// What a port is opened with.
    pub fn chooser(&self) -> Arc<Chooser> {
        self.chooser.clone()
    }

    /// Has other frames taken from now on.
    ///
    /// # Errors
    /// The kernel has no memory for it; then nothing is taken until another selection is in force.
    pub fn select(&mut self, selection: &Selection) -> Result<(), PortError> {
        self.put(&Contents::of(selection, self.most)).map_err(|source| {
            // Taking out takes no memory.
            let _ = self.stations.restrict(&BTreeMap::new());
            let step = "changing what AF_XDP takes, which is nothing now,";
            PortError::Step { step, link: self.link.clone(), source }
        })
    }

    fn put(&mut self, contents: &Contents) -> io::Result<()> {
        self.host.add(&contents.host)?;
        self.stations.restrict(&contents.stations)?;
        self.addresses.restrict(&contents.addresses)?;
        self.addresses.add(&contents.addresses)?;
        self.stations.add(&contents.stations)?;
        self.host.restrict(&contents.host)
    }
}

/// A map, and what it holds.
#[derive(Debug)]
struct Table<const KEY: usize> {
    map: NumberMap<KEY>,
    held: BTreeMap<[u8; KEY], u32>,
}

impl<const KEY: usize> Table<KEY> {
    fn new(matching: Matching, entries: u32) -> io::Result<Table<KEY>> {
        Ok(Table { map: NumberMap::new(matching, entries)?, held: BTreeMap::new() })
    }

    /// Of the entries that there are, leaves those of `wanted`, standing for what they are to stand for.
    fn restrict(&mut self, wanted: &BTreeMap<[u8; KEY], u32>) -> io::Result<()> {
        let changed: Vec<[u8; KEY]> =
            self.held.iter().filter(|(key, number)| wanted.get(*key) != Some(number)).map(|(&key, _)| key).collect();
        for key in changed {
            match wanted.get(&key) {
                Some(&number) => self.set(key, number)?,
                None => {
                    self.map.remove(&key)?;
                    self.held.remove(&key);
                }
            }
        }
        Ok(())
    }

    /// Adds what of `wanted` there is not.
    fn add(&mut self, wanted: &BTreeMap<[u8; KEY], u32>) -> io::Result<()> {
        for (&key, &number) in wanted {
            if !self.held.contains_key(&key) {
                self.set(key, number)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, key: [u8; KEY], number: u32) -> io::Result<()> {
        self.map.set(&key, number)?;
        self.held.insert(key, number);
        Ok(())
    }
}
