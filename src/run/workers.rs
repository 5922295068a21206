//! The worker threads, as the director reaches them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, getpid, getsid};

use crate::base::{self, LinkId, Tick};
use crate::control::director::Fleet;
use crate::engine::server::Crowd;
use crate::engine::sync::Ignored;
use crate::engine::{Config, Engine};
use crate::host::tunway::dropped;
use crate::host::{interface_mtu, prefer_huge_pages, set_nice};
use crate::port::af_packet::fanout::FlowHash;
use crate::port::{GroupNumbers, PacketOptions, Port, PortDrop, PortError, TunOptions, XdpOptions};
use crate::sync::{Interface, Receiver, Sender};
use crate::table::{Change, DaemonConfig, DaemonRole, DestinationKey, Errno, ServiceKey};
use crate::worker::closing::Closing;
use crate::worker::handover::Handover;
use crate::worker::provision::Provision;
use crate::worker::question::{Finding, Question};
use crate::worker::{Clock, Mailbox, Message, Worker};

use super::closer::Closer;
use super::listener::{Listener, ListenerCounts};
use super::memory;
use super::permit::Permission;

/// Changes that are handed over together, where so many come at once.
const CHANGES_AT_ONCE: usize = 64;
/// Destinations with thresholds that are kept in mind before it is looked which are gone.
const FEWEST_CROWDS: usize = 1024;
/// How long a worker may take to answer: it does so between two batches of frames.
const PATIENCE: Duration = Duration::from_secs(10);

/// What workers are started with.
#[derive(Clone, Debug)]
pub struct Plan {
    pub workers: usize,
    /// Cores to pin them to, in turn; none where they may run anywhere.
    pub cores: Vec<usize>,
    /// Their niceness.
    pub nice: i8,
    pub engine: Config,
    /// Ports that the FTP helper listens on.
    pub ftp_ports: Vec<base::Port>,
}

/// What a port is opened on.
#[derive(Clone, Debug)]
pub enum Way {
    Packet(PacketOptions),
    Xdp(Box<XdpOptions>),
    Tun(TunOptions),
}

impl Way {
    /// Opens it, which takes tens of milliseconds.
    fn open(&self) -> Result<Port, PortError> {
        match self {
            Way::Packet(options) => Port::packet(options),
            Way::Xdp(options) => Port::xdp(options),
            Way::Tun(options) => Port::tun(options),
        }
    }
}

/// All workers, with what decides whether a change is possible here.
#[derive(Debug)]
pub struct Workers {
    mailboxes: Vec<Mailbox>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    pub permission: Permission,
    /// How the workers share the clients; nothing for a single one. A backup daemon's thread looks at it too.
    steering: Arc<Mutex<Option<FlowHash>>>,
    listener: Option<Listener>,
    heard: Arc<ListenerCounts>,
    /// Changes that are to be handed over.
    changes: Vec<Change>,
    /// What workers share of destinations with thresholds, and how many there are before they are looked through.
    crowds: HashMap<(ServiceKey, DestinationKey), Weak<Crowd>>,
    most_crowds: usize,
    /// TUN devices, and what the kernel had dropped on the way into each when it was opened.
    devices: RefCell<BTreeMap<String, u64>>,
    /// Who closes the workers' ports; nobody where they have to do so themselves.
    closer: Option<Closer>,
    /// Workers were told to close ports since all were known to be closed.
    closing: Cell<bool>,
    /// Workers were told something since they last confirmed what they had been told.
    unconfirmed: Cell<bool>,
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    /// An event loop or a thread cannot be made.
    pub fn start(plan: &Plan, clock: Clock, permission: Permission) -> io::Result<Workers> {
        let mut workers = Workers {
            mailboxes: Vec::new(),
            threads: Vec::new(),
            permission,
            steering: Arc::default(),
            listener: None,
            heard: Arc::default(),
            changes: Vec::new(),
            crowds: HashMap::new(),
            most_crowds: FEWEST_CROWDS,
            devices: RefCell::default(),
            closer: None,
            closing: Cell::new(false),
            unconfirmed: Cell::new(false),
        };
        // The table's limit holds for all workers together.
        let each = plan.engine.maximum_connections.div_ceil(plan.workers);
        let several = plan.workers > 1;
        let helper = memory::start();
        let helper = helper.inspect_err(|error| log::debug!("memory is not made ready: {error}")).ok();
        let closer = Closer::start();
        workers.closer = closer.inspect_err(|error| log::debug!("workers close ports themselves: {error}")).ok();
        let mut made = Vec::new();
        for number in 0..plan.workers {
            let seed = plan.engine.seed.wrapping_add(number as u64);
            let config = Config { seed, maximum_connections: each, ..plan.engine.clone() };
            let (mut worker, mailbox) = Worker::new(number, &config, clock)?;
            worker.set_ftp_ports(&plan.ftp_ports);
            let memory = worker.memory();
            memory.clone().into_iter().for_each(prefer_huge_pages);
            if let Some(helper) = &helper {
                worker.set_provision(Provision::new(helper.clone(), memory));
            }
            if let Some(closer) = &workers.closer {
                worker.set_closing(Closing::new(closer.errands()));
            }
            made.push(worker);
            workers.mailboxes.push(mailbox);
        }
        if several {
            let bells: Vec<_> = workers.mailboxes.iter().map(Mailbox::bell).collect();
            made.iter_mut().zip(Handover::between(&bells)).for_each(|(worker, end)| worker.set_handover(end));
        }
        for (number, worker) in made.into_iter().enumerate() {
            let core = (!plan.cores.is_empty()).then(|| plan.cores[number % plan.cores.len()]);
            let nice = plan.nice;
            let thread = std::thread::Builder::new().name(format!("ulvs-worker-{number}")).spawn(move || {
                if let Some(core) = core {
                    pin(core);
                }
                prefer(nice);
                worker.run()
            })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    pub fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// Says how the workers share the clients from now on.
    pub fn set_steering(&self, hash: FlowHash) {
        *self.steering.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
    }

    /// Whether any worker has connections or templates, or does not say.
    pub fn have_connections(&mut self) -> bool {
        (0..self.count()).any(|worker| match self.ask(Tick::ZERO, worker, &Question::Counts) {
            Some(Finding::Counts(counts)) => counts.connections > 0,
            _ => true,
        })
    }

    /// Tells every worker the same.
    pub fn tell(&self, message: impl Fn() -> Message) {
        self.unconfirmed.set(true);
        for (number, mailbox) in self.mailboxes.iter().enumerate() {
            if let Err(error) = mailbox.send(message()) {
                log::error!("worker {number}: {error}");
            }
        }
    }

    /// Tells the first worker, which does for all what is to be done once.
    pub fn tell_first(&self, message: Message) {
        self.unconfirmed.set(true);
        if let Some(Err(error)) = self.mailboxes.first().map(|mailbox| mailbox.send(message)) {
            log::error!("the first worker: {error}");
        }
    }

    /// Waits until everything that workers were told is in force with all of them: whoever asked for it then finds it so.
    pub fn confirm(&self) {
        if !self.unconfirmed.replace(false) {
            return;
        }
        let (confirmed, confirmations) = mpsc::channel();
        for mailbox in &self.mailboxes {
            // One that has ended ends the director.
            let _ = mailbox.send(Message::Confirm(confirmed.clone()));
        }
        drop(confirmed);
        for _ in &self.mailboxes {
            if let Err(mpsc::RecvTimeoutError::Timeout) = confirmations.recv_timeout(PATIENCE) {
                return log::error!("a worker does not take what it is told");
            }
        }
    }

    /// Opens a port and gives it to one worker. The order of opening is that of joining a fanout group.
    ///
    /// # Errors
    /// Why the port cannot be opened, or that the worker has ended.
    pub fn open(&self, worker: usize, link: LinkId, way: Way) -> io::Result<Result<Option<GroupNumbers>, PortError>> {
        let Some(mailbox) = self.mailboxes.get(worker) else { return Err(io::ErrorKind::NotFound.into()) };
        self.await_closed();
        // The first of its queues makes the device where it is not there.
        if let (0, Way::Tun(options)) = (worker, &way) {
            let before = dropped(&options.name).unwrap_or(0);
            self.devices.borrow_mut().insert(options.name.clone(), before);
        }
        let port = match way.open() {
            Ok(port) => Box::new(port),
            Err(error) => return Ok(Err(error)),
        };
        let group = port.fanout_group();
        self.unconfirmed.set(true);
        mailbox.send(Message::Open { link, port })?;
        Ok(Ok(group))
    }

    /// Has every worker close its port on `link`, if it has one.
    pub fn close(&self, link: LinkId) {
        self.closing.set(true);
        self.tell(|| Message::Close { link });
    }

    /// Waits until the ports are closed that workers were told to close: some of what they have, no two can have, as a
    /// link's queue for AF_XDP, or a device's name.
    fn await_closed(&self) {
        if self.closing.replace(false) {
            self.confirm();
            self.closer.iter().for_each(Closer::confirm);
        }
    }

    /// Has one worker send super-frames in tunnels whole by `link`, and waits for the outcome.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn carry_tunnels(&self, worker: usize, link: LinkId) -> io::Result<Result<(), PortError>> {
        let (outcome, carried) = mpsc::channel();
        let Some(mailbox) = self.mailboxes.get(worker) else { return Err(io::ErrorKind::NotFound.into()) };
        mailbox.send(Message::CarryTunnels { link, outcome })?;
        carried
            .recv_timeout(PATIENCE)
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the worker does not answer"))
    }

    /// Whether a worker has ended although nobody told it to.
    pub fn any_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Stops the threads and waits for them.
    pub fn stop(&mut self) {
        self.listener = None;
        self.tell(|| Message::Stop);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::error!("a worker ended: {error}"),
                Err(_) => log::error!("a worker broke down"),
            }
        }
        if let Some(closer) = self.closer.take() {
            closer.stop();
        }
    }
}

impl Workers {
    /// Has several workers count the connections of a destination together, where a change gave it thresholds.
    fn gather(&mut self, change: &Change) {
        let (Change::AddDestination { service, key, config } | Change::EditDestination { service, key, config }) =
            change
        else {
            return;
        };
        if self.count() == 1 || config.upper_threshold == 0 {
            return;
        }
        // The destination has to be there.
        self.wake();
        if self.crowds.len() >= self.most_crowds {
            // Some are of destinations that no worker has any more.
            self.crowds.retain(|_, crowd| crowd.strong_count() > 0);
            self.most_crowds = (2 * self.crowds.len()).max(FEWEST_CROWDS);
        }
        // One that was deleted and comes back still has connections with some of them.
        let known = self.crowds.entry((*service, *key)).or_default();
        let crowd = known.upgrade().unwrap_or_default();
        *known = Arc::downgrade(&crowd);
        let (service, destination) = (*service, *key);
        self.tell(|| Message::Crowd { service, destination, crowd: crowd.clone() });
    }

    fn open_sockets(&mut self, model: &Engine, config: &DaemonConfig, ports: u32) -> io::Result<()> {
        let interface = Interface::find(&config.interface)?;
        let buffer = usize::try_from(model.settings().sync_sock_size).unwrap_or(0);
        let ports = (0..ports).map(|number| config.port.wrapping_add(number as u16));
        match config.role {
            DaemonRole::Master => {
                for mailbox in &self.mailboxes {
                    let senders = ports.clone().map(|port| Sender::open(config, port, &interface, buffer));
                    mailbox.send(Message::Senders(senders.collect::<io::Result<_>>()?))?;
                }
            }
            DaemonRole::Backup => {
                let receivers = ports.map(|port| Receiver::open(config, port, &interface, buffer));
                let receivers = receivers.collect::<io::Result<_>>()?;
                let heard = self.heard.clone();
                self.listener =
                    Some(Listener::start(config, receivers, &self.mailboxes, self.steering.clone(), heard)?);
            }
        }
        Ok(())
    }
}

/// The number of an error, where the interface of control knows it.
fn errno(error: &io::Error) -> Errno {
    let known = [
        Errno::EPERM,
        Errno::ENODEV,
        Errno::ENOMEM,
        Errno::EADDRINUSE,
        Errno::EADDRNOTAVAIL,
        Errno::EAFNOSUPPORT,
        Errno::EOPNOTSUPP,
    ];
    known.into_iter().find(|errno| Some(errno.number()) == error.raw_os_error()).unwrap_or(Errno::EINVAL)
}

impl Fleet for Workers {
    fn size(&self) -> usize {
        self.mailboxes.len()
    }

    fn permit(&mut self, model: &Engine, change: &Change) -> Result<(), Errno> {
        self.permission.check(model, change)
    }

    fn mtu(&mut self, _model: &Engine, interface: &str) -> Option<u32> {
        // Any interface will do, also one that no frames are taken from.
        interface_mtu(interface).ok()
    }

    fn open_daemon(&mut self, model: &Engine, config: &DaemonConfig, ports: u32) -> Result<(), Errno> {
        // A daemon that was to stop has let go of its sockets then.
        self.wake();
        self.open_sockets(model, config, ports).map_err(|error| {
            log::error!("the sockets of a synchronisation daemon on {}: {error}", config.interface);
            errno(&error)
        })
    }

    fn counts(&self) -> Vec<(&'static str, String, &'static str, u64)> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // Names and meanings are those of the engines' counts, where both count.
        let mut lines = vec![
            ("sync", "messages-in".to_owned(), "", load(&self.heard.messages)),
            (
                "sync",
                "overrun".to_owned(),
                "Entries of other directors that came faster than a worker took them.",
                load(&self.heard.overrun),
            ),
            ("sync", "deaf".to_owned(), "Errors of the sockets that a backup listens to.", load(&self.heard.failed)),
        ];
        let ignored = Ignored::ALL.iter();
        lines.extend(ignored.map(|&one| ("ignored", one.name().to_owned(), one.meaning(), self.heard.ignored(one))));
        // The kernel counts a device's drops for all its queues together, so that they are no worker's.
        let full = PortDrop::RingFull;
        lines.extend(self.devices.borrow().iter().filter_map(|(device, before)| {
            let count = dropped(device).ok()?.saturating_sub(*before);
            Some(("port", format!("{device} {}", full.name()), full.meaning(), count))
        }));
        lines
    }

    fn apply(&mut self, _now: Tick, change: &Change) {
        if matches!(change, Change::StopDaemon { role: DaemonRole::Backup }) {
            self.listener = None;
        }
        self.changes.push(change.clone());
        if self.changes.len() >= CHANGES_AT_ONCE {
            self.wake();
        }
        self.gather(change);
    }

    fn wake(&mut self) {
        if !self.changes.is_empty() {
            let changes: Arc<[Change]> = std::mem::take(&mut self.changes).into();
            self.tell(|| Message::Changes(changes.clone()));
        }
    }

    fn ask(&mut self, _now: Tick, engine: usize, question: &Question) -> Option<Finding> {
        // It is about the configuration as it stands.
        self.wake();
        let (answer, found) = mpsc::channel();
        let message = Message::Ask { question: question.clone(), answer };
        self.mailboxes.get(engine)?.send(message).ok()?;
        found.recv_timeout(PATIENCE).ok()
    }
}

/// Gives the calling thread its niceness, and the session the same where it is the director's own:
/// the kernel may share the time out among sessions first (`sched_autogroup_enabled`, sched(7)).
fn prefer(nice: i8) {
    if nice == 0 {
        return;
    }
    match set_nice(nice.into()) {
        Ok(()) => {}
        Err(error) => return log::debug!("workers keep their niceness: {error}"),
    }
    if getsid(None).is_ok_and(|leader| leader == getpid())
        && let Err(error) = std::fs::write("/proc/self/autogroup", nice.to_string())
    {
        log::debug!("the session keeps its niceness: {error}");
    }
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        log::warn!("a worker cannot be pinned to core {core}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::engine::HostStack;
    use crate::table::Network;

    fn start(workers: usize) -> Workers {
        let engine = Config { maximum_connections: 1024, seed: 1, host_stack: HostStack::Beside };
        let plan = Plan { workers, cores: vec![], nice: 0, engine, ftp_ports: vec![] };
        Workers::start(&plan, Clock::new(), Permission::default()).unwrap()
    }

    #[test]
    fn what_is_confirmed_is_in_force_everywhere() {
        for count in [1, 3] {
            let mut workers = start(count);
            for _ in 0..50 {
                let (before, after) = (Arc::new(Network::default()), Arc::new(Network::default()));
                for network in [&before, &after] {
                    workers.tell(|| Message::Network { network: network.clone(), served: Arc::default() });
                }
                workers.confirm();
                assert_eq!(Arc::strong_count(&before), 1, "a worker still uses the network before");
            }
            workers.stop();
            // Nobody is left to confirm anything, and nobody waits.
            workers.tell(|| Message::Stop);
            workers.confirm();
        }
    }

    #[test]
    fn ports_are_handed_over_open_and_closed_when_others_are_opened() {
        use crate::port::memory::{Far, WireKind, wire};
        let mut workers = start(2);
        let link = LinkId(3);
        let give = |workers: &Workers| -> Vec<Far> {
            let give = |mailbox: &Mailbox| {
                let (port, far) = wire(WireKind::Ethernet).unwrap();
                mailbox.send(Message::Open { link, port: Box::new(port) }).unwrap();
                far
            };
            workers.mailboxes.iter().map(give).collect()
        };
        let are_open = |wires: &[Far]| wires.iter().all(Far::is_open);
        let are_closed = |wires: &[Far]| !wires.iter().any(Far::is_open);
        for _ in 0..50 {
            let before = give(&workers);
            workers.unconfirmed.set(true);
            workers.confirm();
            assert!(are_open(&before));
            workers.close(link);
            workers.await_closed();
            assert!(are_closed(&before));
            // One takes the place of another.
            let (before, after) = (give(&workers), give(&workers));
            workers.closing.set(true);
            workers.unconfirmed.set(true);
            workers.await_closed();
            assert!(are_closed(&before) && are_open(&after));
        }
        let last = give(&workers);
        workers.stop();
        assert!(are_closed(&last));
    }

    #[test]
    fn packet_ports_are_opened_again_in_a_group_of_their_own() {
        use crate::port::af_packet::program::Program;
        use crate::port::{Fanout, FanoutGroup};
        let test = || {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                return println!("not run: a network namespace is not permitted here ({error})");
            }
            let mut workers = start(3);
            for _ in 0..3 {
                let mut group = FanoutGroup::New;
                for worker in 0..workers.count() {
                    // The loopback link of the namespace.
                    let mut options = PacketOptions::new("lo", 1);
                    options.fanout = Some(Fanout { group, program: Program::everything() });
                    match workers.open(worker, LinkId(0), Way::Packet(options)).unwrap() {
                        Ok(Some(joined)) => group = FanoutGroup::Join(joined),
                        Ok(None) => panic!("it is in no group"),
                        Err(error @ PortError::NotPermitted { .. }) => return println!("not run: {error}"),
                        Err(error) => panic!("{error:?}"),
                    }
                }
                workers.close(LinkId(0));
            }
            workers.stop();
        };
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn a_port_that_cannot_be_opened_or_handed_over_says_why() {
        let mut workers = start(1);
        let nowhere = || Way::Packet(PacketOptions::new("eth7", i32::MAX as u32));
        assert!(matches!(workers.open(0, LinkId(0), nowhere()), Ok(Err(_))));
        let error = workers.open(1, LinkId(0), nowhere()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        workers.stop();
    }

    #[test]
    fn an_idle_director_has_no_connections() {
        let mut workers = start(2);
        assert!(!workers.have_connections());
        workers.stop();
        assert!(workers.have_connections(), "who does not answer may have some");
    }
}
