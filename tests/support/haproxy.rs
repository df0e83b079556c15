//! An HAProxy with the sections that a test configures.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::tool::Tool;
use super::until;

const HAPROXY: Tool = Tool { program: "haproxy", package: "haproxy" };

/// A running HAProxy; dropping it stops it.
pub struct HaProxy {
    process: Child,
    _folder: TempDir,
}

impl HaProxy {
    /// Starts it in TCP mode with these sections, and waits until it listens at this address.
    #[track_caller]
    pub fn start(sections: &str, listens: SocketAddr) -> Self {
        let folder = TempDir::with_prefix("haproxy-").expect("a temporary folder");
        let file = folder.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n{sections}"
        );
        std::fs::write(&file, text).expect("a configuration");
        let process = HAPROXY
            .command()
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting haproxy");
        until("HAProxy listens", || TcpStream::connect(listens).is_ok());
        Self { process, _folder: folder }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
