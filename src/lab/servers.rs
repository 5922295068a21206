//! What runs on a lab's real servers: nginx where it is installed, and the lab's own small server.
//!
//! Port 80 is nginx (ours where there is none), answering with the server's name, and with files
//! below `/files/`. Always ours: 8080 (web, takes uploads too), TCP and UDP 7 (echo), UDP 53 (names).

use std::fs;
use std::path::Path;

use super::build::{Lab, find_program};
use super::error::LabError;
use super::wait;

/// How long servers may take until they listen.
const START_SECONDS: u64 = 15;

impl Lab {
    /// Starts the servers on every real server and waits until they listen.
    pub(super) fn start_servers(&mut self) -> Result<(), LabError> {
        let nginx = find_program("nginx");
        let files = self.directory().join("files");
        fs::create_dir_all(&files).map_err(LabError::at(&files))?;
        let names: Vec<String> = self.plan().real_servers.iter().map(|server| server.name.clone()).collect();
        for name in &names {
            let directory = self.directory().join(name);
            fs::create_dir_all(&directory).map_err(LabError::at(&directory))?;
            let mut command = self.ulvs(name, &["lab", "serve", "--name", name, "--http", "8080"]);
            command.args(["--echo", "7", "--dns", "53", "--directory"]).arg(&directory);
            match &nginx {
                None => {
                    command.args(["--http", "80"]);
                }
                Some(nginx) => {
                    let configuration = directory.join("nginx.conf");
                    fs::write(&configuration, nginx_configuration(name, &directory, &files))
                        .map_err(LabError::at(&configuration))?;
                    let mut command = self.command(name, &nginx.to_string_lossy());
                    command.arg("-p").arg(&directory).arg("-c").arg(&configuration);
                    self.start(name, "nginx", command)?;
                }
            }
            self.start(name, "ulvs lab serve", command)?;
        }
        for name in &names {
            let ready = || [80, 8080, 7].iter().all(|port| self.is_listening(name, *port));
            wait::until(START_SECONDS, &format!("listening on {name}"), ready).map_err(|error| LabError::Ended {
                what: format!("a server of {name}"),
                status: error.to_string(),
                output: ["nginx", "ulvs lab serve"].map(|what| self.last_words(name, what)).join("\n"),
            })?;
        }
        Ok(())
    }
}

/// A configuration that writes nowhere but into `directory` and needs no other user, which a user
/// namespace would not have.
fn nginx_configuration(name: &str, directory: &Path, files: &Path) -> String {
    let (directory, files) = (directory.display(), files.display());
    let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {directory}/nginx-{kind};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\nuser root root;\npid {directory}/nginx.pid;\nerror_log stderr;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n    access_log off;\n    keepalive_timeout 60;\n    default_type text/plain;\n{bodies}\
         \x20   server {{\n        listen 80 backlog=4096;\n        listen [::]:80 ipv6only=on backlog=4096;\n\
         \x20       add_header Server-Name {name} always;\n\
         \x20       location / {{ return 200 \"{name}\\n\"; }}\n\
         \x20       location /files/ {{ alias {files}/; }}\n    }}\n}}\n"
    )
}
