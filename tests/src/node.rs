//! One `strongroom server` process under test.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{api::Api, fresh};

/// How long a node may take for anything a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: `$STRONGROOM_BIN`, or what `cargo build -p strongroom` left beside the
/// test, unless that is old.
pub fn binary() -> PathBuf {
    static FOUND: LazyLock<PathBuf> = LazyLock::new(find_binary);
    FOUND.clone()
}

fn find_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STRONGROOM_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let beside = test.parent().expect("a test lies somewhere");
    // Tests lie in `deps` below it, other programs right beside it.
    let beside = match beside.ends_with("deps") {
        true => beside.parent().expect("target/PROFILE"),
        false => beside,
    };
    let path = beside.join("strongroom");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build -p strongroom` first",
        path.display()
    );
    if let Err(old) = fresh::check(&path) {
        panic!("{old}");
    }
    path
}

/// A port that is free and that no other test of this process gets. Below the range from which the
/// kernel gives ports to outgoing connections, so that none of those takes it.
pub fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Test binaries that run side by side start at different places.
        let step = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() * 97;
        let port = u16::try_from(FIRST + step % COUNT).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A node: its settings, and its process while it runs. Dropping it kills the process.
pub struct Node {
    /// `NODE_ID`.
    pub id: String,
    /// Its API's port on 127.0.0.1, or on its address in a network namespace.
    pub api_port: u16,
    /// The network namespace that it runs in, and its address there.
    pub netns: Option<(String, Ipv4Addr)>,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its settings.
    pub env: BTreeMap<String, String>,
    /// The program that starts the server in its own place, with its arguments; empty: none.
    pub behind: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// A node that is not running yet, with its files below `dir`.
    pub fn new(id: &str, dir: &Path, env: &[(&str, &str)]) -> Self {
        let (api_port, data_dir) = (free_port(), dir.join(format!("node-{id}")));
        let mut all = BTreeMap::from([
            ("NODE_ID".to_owned(), id.to_owned()),
            ("VAULT_API_ADDR".to_owned(), format!("127.0.0.1:{api_port}")),
            ("VAULT_DATA_DIR".to_owned(), data_dir.display().to_string()),
        ]);
        all.extend(
            env.iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let log = dir.join(format!("node-{id}.log"));
        Self {
            id: id.to_owned(),
            api_port,
            netns: None,
            data_dir,
            env: all,
            behind: Vec::new(),
            log,
            child: None,
        }
    }

    /// Starts the process.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "node {} runs already", self.id);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("a log file");
        // Each puts the next one in its own place: signals go to the right process.
        let mut line: Vec<OsString> = self.behind.iter().map(OsString::from).collect();
        if let Some((name, _)) = &self.netns {
            line.extend(["ip", "netns", "exec", name].map(OsString::from));
        }
        line.push(binary().into());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        command.arg("server").stdin(Stdio::null());
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("VAULT_") || key == "NODE_ID" {
                command.env_remove(key);
            }
        }
        command
            .envs(&self.env)
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        self.child = Some(command.spawn().expect("the binary starts"));
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running node").id()
    }

    /// Whether the process was started and not ended by this test.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Sends a signal by pid.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("a live process");
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running node");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().ok();
                panic!("node {} did not end: {}", self.id, self.log_text());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything the process has logged.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its API, without a token.
    pub fn api(&self) -> Api {
        let host = self
            .netns
            .as_ref()
            .map_or(Ipv4Addr::LOCALHOST, |(_, host)| *host);
        Api::new(&format!("http://{host}:{}", self.api_port))
    }

    /// Waits until `/readyz` says 200.
    pub async fn wait_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            match self.api().try_get("/readyz").await {
                Ok(answer) if answer.status == 200 => return,
                other => last = Some(other.map(|answer| answer.text)),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "node {} is not ready: {last:?}\n{}",
            self.id,
            self.log_text()
        );
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
