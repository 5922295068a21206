//! Files by FTP through NAT, from vsftpd to curl: passive and active, over IPv4 and IPv6, several in
//! one session, so that numbers are translated long after an answer changed its length. First with
//! addresses of the director's own, then with the host's, whose kernel forwards as well.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use ulvs::lab::{Subject, Topology};

use crate::session::Session;
use crate::world::{Director, VIPS, World};
use crate::{Failure, Outcome, ensure};

/// How a client wants its data connection, in curl's words, and what it tells the server.
const WAYS: [(&str, &[&str]); 4] = [
    ("EPSV", &["--ftp-pasv"]),
    ("PASV", &["--ftp-pasv", "--disable-epsv"]),
    ("EPRT", &["--ftp-port", "-"]),
    ("PORT", &["--ftp-port", "-", "--disable-eprt"]),
];

/// Bytes of the file that has to arrive whole: many segments.
const LARGE: usize = 3 << 20;

pub fn run(world: &mut World) -> Outcome {
    world.need("curl", "curl")?;
    world.need("vsftpd", "vsftpd")?;
    world.build(Topology::Nat, Director::Started)?;
    if world.subject == Subject::Kernel {
        world.shell("director", "modprobe ip_vs_ftp")?;
    }
    let large: Vec<u8> = (0..LARGE).map(|at| (at * 7 + at / 251) as u8).collect();
    sessions(world, &large)?;
    world.build(Topology::Nat, Director::Absent)?;
    let tools = world.tools()?;
    world.shell("director", &format!("PATH={}:$PATH\n{HOST_S_OWN}", tools.display()))?;
    sessions(world, &large)
}

/// The virtual addresses are the director's host's, as old scripts have it.
const HOST_S_OWN: &str = "
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects
echo 0 > /proc/sys/net/ipv4/conf/eth0/send_redirects
ip addr replace 10.0.1.100/32 dev eth0
ip addr replace fd00:1::100/128 dev eth0 nodad
ipvsadm -C
";

fn sessions(world: &World, large: &[u8]) -> Outcome {
    let servers: Vec<Session> = (1..=3).map(|number| serve(world, number, large)).collect::<Result<_, Failure>>()?;
    world.add_services("-t", 21, "rr")?;
    for vip in VIPS {
        for (name, way) in WAYS {
            // PASV and PORT have no words for IPv6 addresses.
            if vip.is_ipv6() && ["PASV", "PORT"].contains(&name) {
                continue;
            }
            let what = format!("{vip}, {name}");
            let mut who: Vec<String> = (0..3).map(|_| fetch(world, vip, way, &["who"])).collect::<Result<_, _>>()?;
            who.sort_unstable();
            ensure!(who == ["rs1", "rs2", "rs3"], "{what}: {who:?}");
            let session = fetch(world, vip, way, &["who", "", "who", "large", "who"])?;
            ensure!(session.matches("rs").count() >= 3, "{what}: {} bytes of a session", session.len());
            let copy = world.lab().directory().join("copy");
            let copy_path = copy.to_string_lossy();
            fetch_with(world, vip, way, &["who", "large"], &["-o", "/dev/null", "-o", &copy_path])?;
            ensure!(fs::read(&copy)? == large, "{what}: the large file arrived changed");
        }
    }
    if world.subject == Subject::Ulvs {
        // The kernel keeps a port's connection with the first server that it was announced to.
        for name in ["--eprt", "--disable-eprt"] {
            let way = ["--ftp-port", "eth0:42000", name];
            let mut who: Vec<String> =
                (0..3).map(|_| fetch(world, VIPS[0], &way, &["who"])).collect::<Result<_, _>>()?;
            who.sort_unstable();
            ensure!(who == ["rs1", "rs2", "rs3"], "a port again, {name}: {who:?}");
        }
    }
    let connections = world.adm("-L -n -c")?;
    let active = connections.lines().filter(|line| line.contains("10.0.1.100:20 ")).count();
    ensure!(active > 0, "no data connection from port 20 is listed:\n{connections}");
    drop(servers);
    Ok(())
}

/// A real server with the files `who` and `large`, listening on both families.
fn serve(world: &World, number: usize, large: &[u8]) -> Result<Session, Failure> {
    let directory = world.lab().directory().join(format!("ftp{number}"));
    let (root, empty) = (directory.join("root"), directory.join("empty"));
    fs::create_dir_all(&root)?;
    fs::create_dir_all(&empty)?;
    fs::write(root.join("who"), format!("rs{number}"))?;
    fs::write(root.join("large"), large)?;
    let configuration = directory.join("vsftpd.conf");
    fs::write(&configuration, settings(&root, &empty))?;
    let role = format!("rs{number}");
    let server = world.session(&role, &["vsftpd", &configuration.to_string_lossy()])?;
    world.until(20, "vsftpd", || Ok(world.shell(&role, "ss -tln | grep -q ':21 '").is_ok()))?;
    Ok(server)
}

fn settings(root: &Path, empty: &Path) -> String {
    format!(
        "listen_ipv6=YES\nbackground=NO\nanonymous_enable=YES\nno_anon_password=YES\nconnect_from_port_20=YES\n\
         seccomp_sandbox=NO\nrun_as_launching_user=YES\nanon_root={}\nsecure_chroot_dir={}\n",
        root.display(),
        empty.display()
    )
}

/// What a session of curl's prints that fetches these files one after the other.
fn fetch(world: &World, vip: IpAddr, way: &[&str], files: &[&str]) -> Result<String, Failure> {
    fetch_with(world, vip, way, files, &[])
}

fn fetch_with(
    world: &World,
    vip: IpAddr,
    way: &[&str],
    files: &[&str],
    options: &[&str],
) -> Result<String, Failure> {
    let host = if vip.is_ipv6() { format!("[{vip}]") } else { vip.to_string() };
    let urls: Vec<String> = files.iter().map(|file| format!("ftp://{host}/{file}")).collect();
    let mut words = vec!["curl", "-sS", "--globoff", "--max-time", "60"];
    words.extend(way);
    words.extend(options);
    words.extend(urls.iter().map(String::as_str));
    let output = world.run("client", &words)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(Failure::failed(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr))))
}
