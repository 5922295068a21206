//! The lab's own server: a web, echo and name server small enough to be read, for machines
//! without nginx and for the protocols nginx does not speak.
//!
//! Every answer carries the server's name, so that a client sees who was chosen. UDP answers leave
//! from the address that was asked (the VIP), which a wildcard socket achieves with IP_PKTINFO.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::dns;

/// Serve on a lab's real server (used by `ulvs lab up`)
#[derive(Debug, clap::Args)]
pub struct ServeArguments {
    /// What to answer with
    #[arg(long)]
    name: String,
    /// TCP port of a web server; may repeat
    #[arg(long)]
    http: Vec<u16>,
    /// TCP and UDP port of an echo server
    #[arg(long)]
    echo: Vec<u16>,
    /// UDP port of a name server that knows one answer
    #[arg(long)]
    dns: Vec<u16>,
    /// Where uploads go
    #[arg(long)]
    directory: PathBuf,
}

/// How long a quiet connection is kept.
const IDLE: std::time::Duration = std::time::Duration::from_secs(600);

struct Server {
    name: String,
    directory: PathBuf,
}

/// Serves until the process is ended.
///
/// # Errors
/// What listening gives.
pub fn serve(arguments: &ServeArguments) -> io::Result<()> {
    let server = Arc::new(Server { name: arguments.name.clone(), directory: arguments.directory.clone() });
    for port in &arguments.http {
        listen(*port, &server, Server::http)?;
    }
    for port in &arguments.echo {
        listen(*port, &server, Server::echo)?;
        answer_datagrams(*port, &server, |server, request| Some([server.name.as_bytes(), b" ", request].concat()))?;
    }
    for port in &arguments.dns {
        answer_datagrams(*port, &server, |server, request| dns::answer(request, &server.name))?;
    }
    loop {
        thread::park();
    }
}

/// Takes connections of both families at TCP `port`, a thread each.
fn listen(port: u16, server: &Arc<Server>, talk: fn(&Server, TcpStream) -> io::Result<()>) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))))?;
    socket.listen(4096)?;
    let (listener, server) = (TcpListener::from(socket), Arc::clone(server));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = Arc::clone(&server);
            // A client that goes away in the middle is its own affair.
            thread::spawn(move || stream.set_read_timeout(Some(IDLE)).and_then(|()| talk(&server, stream)));
        }
    });
    Ok(())
}

impl Server {
    /// One request: `GET /` (the name), `GET /bytes/N` (N bytes), `PUT /NAME` (stored).
    fn http(&self, stream: TcpStream) -> io::Result<()> {
        let mut output = stream.try_clone()?;
        let mut input = BufReader::new(stream);
        let mut request = String::new();
        input.by_ref().take(8192).read_line(&mut request)?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            input.by_ref().take(8192).read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if header == "expect: 100-continue" {
                output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
        }
        let mut words = request.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match (method, path.trim_start_matches('/')) {
            ("PUT", name) => {
                // Only the last part counts: nothing is written outside the directory.
                let name = Path::new(name).file_name().unwrap_or("upload".as_ref());
                let mut file = File::create(self.directory.join(name))?;
                let received = io::copy(&mut input.take(length), &mut file)?;
                self.reply(&mut output, &format!("{} stored {received}\n", self.name))
            }
            (_, path) => match path.strip_prefix("bytes/").and_then(|count| count.parse().ok()) {
                Some(count) => {
                    write!(output, "HTTP/1.1 200 OK\r\nContent-Length: {count}\r\nConnection: close\r\n\r\n")?;
                    io::copy(&mut Pattern(0).take(count), &mut output).map(drop)
                }
                None => self.reply(&mut output, &format!("{}\n", self.name)),
            },
        }
    }

    fn reply(&self, output: &mut TcpStream, body: &str) -> io::Result<()> {
        let (name, length) = (&self.name, body.len());
        write!(
            output,
            "HTTP/1.1 200 OK\r\nServer-Name: {name}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    }

    /// Each line comes back with the name before it.
    fn echo(&self, stream: TcpStream) -> io::Result<()> {
        let mut output = stream.try_clone()?;
        for line in BufReader::new(stream).lines() {
            writeln!(output, "{} {}", self.name, line?)?;
        }
        Ok(())
    }
}

/// Endless bytes that are not all alike.
struct Pattern(u64);

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for byte in buffer.iter_mut() {
            *byte = (self.0 % 251) as u8;
            self.0 += 1;
        }
        Ok(buffer.len())
    }
}

/// Answers datagrams of both families at `port`, from the address they were sent to.
fn answer_datagrams(
    port: u16,
    server: &Arc<Server>,
    reply: impl Fn(&Server, &[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_recv_buffer_size(4 << 20)?;
    setsockopt(&socket.as_fd(), sockopt::Ipv6RecvPacketInfo, &true)?;
    socket.bind(&SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))))?;
    let server = Arc::clone(server);
    thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        loop {
            match answer_one(&socket, &mut buffer, |request| reply(&server, request)) {
                // An ICMP error about an earlier answer; the next request is unaffected.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => eprintln!("UDP port {port}: {error}"),
                Ok(()) => {}
            }
        }
    });
    Ok(())
}

fn answer_one(socket: &Socket, buffer: &mut [u8], reply: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> io::Result<()> {
    let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo);
    let (length, client, asked) = {
        let mut parts = [IoSliceMut::new(buffer)];
        let message =
            recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
        let asked = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
            _ => None,
        });
        let client: Option<SockaddrIn6> = message.address.and_then(|from| from.as_sockaddr_in6().copied());
        (message.bytes, client, asked)
    };
    let (Some(client), Some(answer)) = (client, reply(&buffer[..length])) else { return Ok(()) };
    // The link is left to the routes: where the VIP is on lo, the answer still leaves by another.
    let source = asked.map(|info| nix::libc::in6_pktinfo { ipi6_ifindex: 0, ..info });
    let controls: Vec<ControlMessage<'_>> = source.iter().map(ControlMessage::Ipv6PacketInfo).collect();
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(&answer)], &controls, MsgFlags::empty(), Some(&client))?;
    Ok(())
}
