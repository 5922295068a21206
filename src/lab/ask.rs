//! The lab's own client: asks a service many times and counts who answered.
//!
//! curl and dig do this for people; tests need thousands of connections, an exact count, and the
//! error of each failure. Every request is a connection or flow of its own.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::dns;
use super::ping::ping;

/// Ask a service and count who answers
#[derive(Debug, clap::Args)]
pub struct AskArguments {
    /// What to speak
    #[arg(value_enum)]
    kind: Kind,
    /// ADDRESS:PORT; asked in turn where there are several
    #[arg(required = true)]
    targets: Vec<SocketAddr>,
    /// How many requests
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// How many at the same time
    #[arg(long, default_value_t = 1)]
    parallel: u32,
    /// Milliseconds to wait for an answer
    #[arg(long, default_value_t = 3000)]
    patience: u64,
    /// Send datagrams from this port and those that follow, each once, instead of any
    #[arg(long)]
    first_port: Option<u16>,
    /// Print each answer instead of how many there were
    #[arg(long)]
    each: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// A web page, over a TCP connection
    Http,
    /// A TXT record, over UDP
    Dns,
    /// A line echoed over TCP
    Tcp,
    /// A datagram echoed over UDP
    Udp,
    /// An ICMP echo; the port does not matter
    Ping,
}

/// Asks, and prints one line for each different answer with its count, or each answer.
///
/// # Errors
/// What printing gives; failed requests are answers too (`error: ...`).
pub fn ask(arguments: &AskArguments) -> io::Result<()> {
    let next = AtomicU32::new(0);
    let answers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..arguments.parallel.clamp(1, 64) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= arguments.count {
                        break;
                    }
                    let target = arguments.targets[number as usize % arguments.targets.len()];
                    let patience = Duration::from_millis(arguments.patience.max(1));
                    let answer = request(arguments, target, number as u16, patience)
                        .unwrap_or_else(|error| format!("error: {error}"));
                    answers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(answer);
                }
            });
        }
    });
    let answers = answers.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut output = io::stdout().lock();
    if arguments.each {
        return answers.iter().try_for_each(|answer| writeln!(output, "{answer}"));
    }
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for answer in &answers {
        *counts.entry(answer).or_default() += 1;
    }
    counts.iter().try_for_each(|(answer, count)| writeln!(output, "{count} {answer}"))
}

/// One request; what the server said of itself.
fn request(arguments: &AskArguments, target: SocketAddr, number: u16, patience: Duration) -> io::Result<String> {
    let first_word = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    let port = arguments.first_port.map_or(0, |first| first.wrapping_add(number));
    match arguments.kind {
        Kind::Http => {
            let mut stream = connect(target, patience)?;
            write!(stream, "GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply)?;
            let body = reply.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned());
            body.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        }
        Kind::Tcp => {
            let mut stream = connect(target, patience)?;
            writeln!(stream, "hello {number}")?;
            let mut reply = String::new();
            BufReader::new(stream).read_line(&mut reply)?;
            Ok(first_word(&reply))
        }
        Kind::Udp => {
            let payload = format!("hello {number}");
            let reply = exchange(port, target, payload.as_bytes(), patience)?;
            let reply = String::from_utf8_lossy(&reply);
            if reply.ends_with(&payload) {
                Ok(first_word(&reply))
            } else {
                Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to something else"))
            }
        }
        Kind::Ping => ping(target.ip(), number, patience).map(|()| "alive".to_owned()),
        Kind::Dns => {
            let reply = exchange(port, target, &dns::query(number, "who.lab"), patience)?;
            dns::text(&reply, number)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer to the question"))
        }
    }
}

fn connect(target: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, patience)?;
    stream.set_read_timeout(Some(patience))?;
    Ok(stream)
}

/// Sends one datagram from `port` (0: any that is free) and waits for one from `target`.
fn exchange(port: u16, target: SocketAddr, payload: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], port).into() } else { ([0u16; 8], port).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(payload)?;
    let mut buffer = vec![0; 65536];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}
