//! Processes of servers that are measured beside Strongroom.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

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

/// What makes each sync of a server take longer: a program that starts it in its own place.
pub(crate) struct SlowSyncs {
    program: PathBuf,
    _dir: TempDir,
    by: Duration,
}

impl SlowSyncs {
    /// Compiles it.
    pub(crate) fn new(by: Duration) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let program = dir.path().join("slow_syncs");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/slow_syncs.c");
        let mut cc = Command::new("cc");
        let built = cc.arg("-O2").arg("-o").arg(&program).arg(source).status();
        let built = built.context("cc, a C compiler, does not start")?;
        ensure!(built.success(), "slow_syncs.c does not compile");
        Ok(Self {
            program,
            _dir: dir,
            by,
        })
    }

    /// What stands before the server's command.
    pub(crate) fn before(&self) -> Vec<String> {
        let by = self.by.as_micros().to_string();
        vec![self.program.display().to_string(), by]
    }
}
