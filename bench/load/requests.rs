//! Short requests over TCP: connect, ask, read the answer, closed by the server; many at once.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde_json::json;

#[derive(Args)]
pub struct ServeArguments {
    #[arg(long)]
    listen: SocketAddr,
}

#[derive(Args)]
pub struct RequestArguments {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    seconds: f64,
    /// Seconds of requests before those that count
    #[arg(long, default_value_t = 0.2)]
    warm_up: f64,
    /// Requests at once
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\nConnection: close\r\n\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const LISTENER: Token = Token(0);
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(100);

pub fn serve(arguments: &ServeArguments) -> Result<String, Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(arguments.listen)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut clients: HashMap<Token, TcpStream> = HashMap::new();
    let mut next = 1;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let token = Token(next);
                    next += 1;
                    // Most requests are there already when their connection is.
                    if !answer(&mut stream) && poll.registry().register(&mut stream, token, Interest::READABLE).is_ok()
                    {
                        clients.insert(token, stream);
                    }
                }
            } else if clients.get_mut(&event.token()).is_some_and(answer) {
                clients.remove(&event.token());
            }
        }
    }
}

/// Answers a request if it has come; whether the connection is done with.
fn answer(stream: &mut TcpStream) -> bool {
    let mut request = [0; 1024];
    match stream.read(&mut request) {
        Ok(0) => true,
        Ok(_) => {
            // The answer fits an empty send buffer; a client that is gone does not matter.
            let _ = stream.write_all(ANSWER);
            true
        }
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

struct Asked {
    stream: TcpStream,
    since: Instant,
    sent: bool,
    received: usize,
}

/// Requests a second that were answered whole, failures, and the latency's percentiles.
pub fn request(arguments: &RequestArguments) -> Result<String, Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut asked: Vec<Option<Asked>> = Vec::new();
    asked.resize_with(arguments.concurrency.max(1), || None);
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3)?;
    let (mut done, mut failed, mut whole) = (0u64, 0u64, 0u64);
    let start = Instant::now();
    let warm = Duration::from_secs_f64(arguments.warm_up);
    let end = warm + Duration::from_secs_f64(arguments.seconds);
    let mut looked = start;
    let mut last_error = None;
    while start.elapsed() < end {
        for (place, slot) in asked.iter_mut().enumerate() {
            if slot.is_none() {
                let mut stream = TcpStream::connect(arguments.to)?;
                poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)?;
                *slot = Some(Asked { stream, since: Instant::now(), sent: false, received: 0 });
            }
        }
        poll.poll(&mut events, Some(POLL))?;
        for event in &events {
            let Some(slot) = asked.get_mut(event.token().0) else { continue };
            let Some(one) = slot else { continue };
            let outcome = advance(one);
            whole += u64::from(matches!(outcome, Ok(true)));
            let counts = start.elapsed() >= warm;
            match outcome {
                Ok(false) => continue,
                Ok(true) if counts => {
                    done += 1;
                    histogram.record(u64::try_from(one.since.elapsed().as_nanos())?)?;
                }
                Err(error) => {
                    failed += u64::from(counts);
                    last_error = Some(error.to_string());
                }
                Ok(true) => {}
            }
            *slot = None;
        }
        if looked.elapsed() > POLL {
            looked = Instant::now();
            for slot in &mut asked {
                if slot.as_ref().is_some_and(|one| one.since.elapsed() > PATIENCE) {
                    failed += 1;
                    last_error = Some(format!("no answer within {} s", PATIENCE.as_secs()));
                    *slot = None;
                }
            }
        }
    }
    let seconds = start.elapsed().saturating_sub(warm).as_secs_f64();
    Ok(json!({
        "requests": done,
        // With those of the warm-up.
        "whole": whole,
        "failed": failed,
        "last_error": last_error,
        "seconds": seconds,
        "per_second": done as f64 / seconds,
        "p50_us": histogram.value_at_quantile(0.5) as f64 / 1000.0,
        "p99_us": histogram.value_at_quantile(0.99) as f64 / 1000.0,
    })
    .to_string())
}

/// Takes a request as far as it goes; whether it was answered whole.
fn advance(one: &mut Asked) -> io::Result<bool> {
    if !one.sent {
        match one.stream.write(REQUEST) {
            Ok(length) if length == REQUEST.len() => one.sent = true,
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    let mut chunk = [0; 1024];
    loop {
        match one.stream.read(&mut chunk) {
            Ok(0) if one.received >= ANSWER.len() => return Ok(true),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => one.received += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
