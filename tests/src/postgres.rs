//! A PostgreSQL server as a process of its own; [`gate`] for what may happen on the way to it, and
//! [`setup`] for a cluster that rotates a password there.

pub mod gate;
pub mod setup;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio_postgres::{Config, NoTls, config::SslMode};

use crate::node::free_port;

const SUPERUSER: &str = "postgres";
/// Guards nothing outside of a test.
const SUPERUSER_PASSWORD: &str = "superuser-of-a-test";
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A running server, stopped on drop.
pub struct Postgres {
    child: Option<Child>,
    dir: TempDir,
    bin: PathBuf,
    extra: Vec<String>,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

/// Where Debian's packages put the programs, newest first; or `$STRONGROOM_POSTGRES_BIN`.
fn programs() -> PathBuf {
    if let Some(bin) = std::env::var_os("STRONGROOM_POSTGRES_BIN") {
        return bin.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop().expect(
        "PostgreSQL is missing: `apt-get install postgresql`, or set STRONGROOM_POSTGRES_BIN to the \
         directory of initdb; scripts/test does it by itself",
    )
}

/// PostgreSQL does not run as root: then it runs as Debian's user `postgres`.
fn owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let line = users
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .expect("root starts PostgreSQL as the user `postgres`, which there is not");
    let mut ids = line.split(':').skip(2).map(|id| id.parse().expect("an id"));
    ids.next().zip(ids.next())
}

impl Postgres {
    /// A server with these settings (`-c`), started.
    pub fn start(settings: &[&str]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("strongroom-postgres-")
            .tempdir()
            .expect("a directory");
        let password = dir.path().join("password");
        fs::write(&password, SUPERUSER_PASSWORD).expect("a file");
        let mut server = Self {
            child: None,
            bin: programs(),
            extra: settings.iter().map(ToString::to_string).collect(),
            port: free_port(),
            dir,
        };
        server.give_away(server.dir.path());
        server.give_away(&password);
        let made = server
            .program("initdb")
            .args(["--auth=scram-sha-256", "--no-sync", "-U", SUPERUSER])
            .args(["-E", "UTF8", "--locale=C"])
            .arg(format!("--pwfile={}", password.display()))
            .arg("-D")
            .arg(server.data())
            .output()
            .expect("initdb");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        server.run();
        server
    }

    /// A file in the server's directory that only the server may read.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        self.give_away(&path);
        path
    }

    /// Replaces its settings, for its next start.
    pub fn set(&mut self, settings: &[&str]) {
        self.extra = settings.iter().map(ToString::to_string).collect();
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn give_away(&self, path: &Path) {
        if let Some((user, group)) = owner() {
            std::os::unix::fs::chown(path, Some(user), Some(group)).expect("root gives away");
        }
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        if let Some((user, group)) = owner() {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts it (again) and waits until it answers.
    pub fn run(&mut self) {
        let log = self.file("log", &self.log());
        let log = fs::File::options().append(true).open(log).expect("a log");
        let mut command = self.program("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-c", "fsync=off"])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "log_statement=all",
            ])
            .arg("-c")
            .arg(format!(
                "unix_socket_directories={}",
                self.dir.path().display()
            ));
        for setting in &self.extra {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("postgres starts"));
        let until = Instant::now() + STARTS_WITHIN;
        let ready = || {
            let mut asked = self.program("pg_isready");
            asked.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            asked.status().is_ok_and(|status| status.success())
        };
        while !ready() {
            assert!(Instant::now() < until, "PostgreSQL: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the process with a signal, and waits until it is gone.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pid = i32::try_from(child.id()).ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a pid");
        // "Immediate shutdown": its own children end as well.
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
        child.wait().ok();
    }

    /// Sends the process that takes connections a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = self.child.as_ref().expect("it runs").id();
        let pid = i32::try_from(id).ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("a live process");
    }

    /// Everything it has logged: every statement among it.
    pub fn log(&self) -> String {
        let log = fs::read(self.dir.path().join("log"));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }

    /// From its next start on, everybody is let in as anybody.
    pub fn trust_everybody(&self) {
        let file = self.data().join("pg_hba.conf");
        fs::write(file, "host all all all trust\nlocal all all trust\n").expect("a file");
    }

    /// A superuser's statement.
    pub async fn execute(&self, statement: &str) {
        let client = connect(self.port, SUPERUSER, SUPERUSER_PASSWORD).await;
        let client = client.expect("the superuser signs in");
        client.batch_execute(statement).await.expect(statement);
    }

    /// Whether a role signs in with this password.
    pub async fn lets_in(&self, user: &str, password: &str) -> bool {
        lets_in(self.port, user, password).await
    }
}

/// Whether a role signs in with this password at the server on this port of 127.0.0.1.
///
/// # Panics
/// If it neither signs in nor is refused.
pub async fn lets_in(port: u16, user: &str, password: &str) -> bool {
    match connect(port, user, password).await {
        Ok(_) => true,
        Err(error) if error.code().is_some_and(|code| code.code() == "28P01") => false,
        Err(error) => panic!("{user} neither signs in nor is refused: {error:?}"),
    }
}

async fn connect(
    port: u16,
    user: &str,
    password: &str,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user(user)
        .password(password)
        .dbname("postgres")
        .ssl_mode(SslMode::Disable)
        .connect_timeout(Duration::from_secs(10));
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}
