//! Processes of servers that are measured beside Strongroom.

use std::{
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How long a server may take to listen.
const WITHIN: Duration = Duration::from_secs(30);

/// A process that ends with this value.
pub(crate) struct Server(Child);

impl Server {
    /// Starts it, silenced.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let program = quiet.get_program().to_string_lossy().into_owned();
        Ok(Self(
            quiet
                .spawn()
                .with_context(|| format!("{program} does not start"))?,
        ))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Waits until somebody listens at the port on 127.0.0.1.
    pub(crate) fn wait_for_port(&mut self, port: u16) -> Result<()> {
        let until = Instant::now() + WITHIN;
        while Instant::now() < until {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.0.try_wait()? {
                bail!("it ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("nobody listens at port {port}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Before a command: each of its syncs takes so much longer. The process stays the command's own, so that
/// its pid is known; what traces it is detached from it, and ends with it.
pub(crate) fn with_slow_syncs(delay: Duration) -> Vec<String> {
    let inject = format!(
        "inject=fsync,fdatasync,sync_file_range:delay_exit={}",
        delay.as_micros()
    );
    [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        "/dev/null",
        // All other calls go by untouched.
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        &inject,
        "--",
    ]
    .map(str::to_owned)
    .to_vec()
}
