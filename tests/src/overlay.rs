//! A WireGuard overlay in network namespaces, made by `deploy/wireguard/overlay` and `wg-quick` as
//! WIREGUARD.md has an operator make it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    api::Answer,
    faults::net::{self, Net},
};

/// The overlay's network; the one below it is `Net`'s.
pub const OVERLAY: &str = "10.200.0.0/24";
/// Where wireguard-go listens for `wg`.
const SOCKETS: &str = "/var/run/wireguard";
/// How long a request may take inside the overlay.
const WITHIN: Duration = Duration::from_secs(20);
/// How long nobody answers whom nobody may answer.
const SILENCE: Duration = Duration::from_secs(2);
const UDP_PORT: u16 = 51820;

/// A peer: its line of the table, and the namespace that it is in.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// `node`, `admin` or `client`.
    pub role: &'static str,
    /// Its address in the overlay.
    pub address: &'static str,
    /// Networks behind it, or `-`.
    pub behind: &'static str,
}

/// The overlay and the network below it. Dropping it removes both.
pub struct Overlay {
    peers: Vec<Peer>,
    keys: Vec<String>,
    dir: TempDir,
    /// The network below.
    pub net: Net,
}

/// Why this machine cannot have an overlay; `None` if it can.
pub fn missing() -> Option<String> {
    let programs = ["wg", "wg-quick", "curl"];
    let has = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    };
    if let Some(program) = programs.into_iter().find(|program| !has(program)) {
        return Some(format!("needs {program}"));
    }
    if !has("wireguard-go") && !Path::new("/sys/module/wireguard").exists() {
        return Some("needs wireguard-go, or WireGuard in the kernel".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun".to_owned());
    }
    net::missing()
}

impl Overlay {
    /// Keys, table and tunnels for these peers, each in a namespace of its own, and `more` namespaces
    /// that know nothing of it.
    pub fn up(peers: &[Peer], more: usize) -> Self {
        let net = Net::up(peers.len() + more);
        remove_dead_sockets();
        let dir = tempfile::Builder::new()
            .prefix("strongroom-overlay-")
            .tempdir()
            .expect("a directory");
        let mut overlay = Self {
            peers: peers.to_vec(),
            keys: Vec::new(),
            dir,
            net,
        };
        for place in 0..peers.len() {
            let key = overlay.script(&["key".as_ref(), overlay.key_file(place).as_ref()]);
            overlay.keys.push(key.trim().to_owned());
        }
        overlay.write_table();
        for place in 0..peers.len() {
            overlay.write_conf(place);
            overlay.quick(place, "up");
        }
        overlay
    }

    /// The settings that `overlay env` gives a node.
    pub fn settings(&self, node: usize) -> Vec<(String, String)> {
        let name = self.peers[node].name;
        let printed = self.script(&["env".as_ref(), self.table().as_ref(), name.as_ref()]);
        let pairs = printed.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// Takes a peer out of the table, and has the nodes know it no more, as WIREGUARD.md says.
    pub fn remove(&mut self, name: &str) {
        let place = self.place(name);
        // The places of the others stay what they are: it is the table's line that goes.
        self.peers[place].role = "";
        self.write_table();
        for node in self.nodes() {
            self.write_conf(node);
            let conf = self.conf_file(node);
            let stripped = self.run(node, "wg-quick", &["strip".as_ref(), conf.as_ref()]);
            let stripped_file = self.dir.path().join("stripped");
            fs::write(&stripped_file, stripped).expect("a file");
            let link = self.link(node);
            let arguments = ["syncconf".as_ref(), link.as_ref(), stripped_file.as_ref()];
            self.run(node, "wg", &arguments);
        }
    }

    /// A request with curl from inside a namespace; nothing, if nobody answers.
    pub fn curl(
        &self,
        from: usize,
        url: &str,
        token: Option<&str>,
        body: Option<&str>,
    ) -> Option<Answer> {
        let within = WITHIN.as_secs().to_string();
        let mut command = self.inside(from, "curl");
        command.args(["-sS", "-m", &within, "-w", "\n%{http_code}", url]);
        if let Some(token) = token {
            command.args(["-H", &format!("Authorization: Bearer {token}")]);
        }
        if let Some(body) = body {
            command.args(["-d", body]);
        }
        let output = command.output().expect("curl runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let (text, status) = printed.rsplit_once('\n')?;
        Some(Answer {
            status: status.parse().ok().filter(|status| *status > 0)?,
            headers: reqwest::header::HeaderMap::new(),
            text: text.to_owned(),
            json: serde_json::from_str(text).unwrap_or(Value::Null),
        })
    }

    /// Whether a TCP connection comes about from inside a namespace, within a short while.
    pub fn connects(&self, from: usize, address: &str, port: u16) -> bool {
        let within = SILENCE.as_secs().to_string();
        let target = format!("http://{address}:{port}/");
        let arguments = ["-sv", "-m", &within, &target];
        let mut command = self.inside(from, "curl");
        let output = command.args(arguments).output().expect("curl runs");
        String::from_utf8_lossy(&output.stderr).contains("Connected to")
    }

    /// `ip` for a namespace.
    pub fn ip(&self, place: usize, arguments: &[&str]) {
        let space = self.net.space(place);
        let mut command = Command::new("ip");
        done(command.args(["-n", &space]).args(arguments));
    }

    /// Runs a program inside a namespace; what it printed.
    pub fn run(&self, place: usize, program: &str, arguments: &[&std::ffi::OsStr]) -> String {
        let output = done(self.inside(place, program).args(arguments));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn inside(&self, place: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.net.space(place), program]);
        command.stdin(Stdio::null());
        command
    }

    fn nodes(&self) -> impl Iterator<Item = usize> + use<> {
        let roles: Vec<_> = self.peers.iter().map(|peer| peer.role).collect();
        (0..roles.len()).filter(move |place| roles[*place] == "node")
    }

    fn place(&self, name: &str) -> usize {
        let place = self.peers.iter().position(|peer| peer.name == name);
        place.expect("a peer")
    }

    /// The interface's name: another one in each namespace, since all share the directory of sockets.
    fn link(&self, place: usize) -> String {
        net::name(&format!("w{place}"))
    }

    fn key_file(&self, place: usize) -> PathBuf {
        self.dir.path().join(format!("{place}.key"))
    }

    fn conf_file(&self, place: usize) -> PathBuf {
        self.dir.path().join(format!("{}.conf", self.link(place)))
    }

    fn table(&self) -> PathBuf {
        self.dir.path().join("peers")
    }

    fn write_table(&self) {
        let mut table = "# name role address key endpoint behind\n\n".to_owned();
        for (place, peer) in self.peers.iter().enumerate() {
            let endpoint = match peer.role {
                "" => continue,
                "node" => format!("{}:{UDP_PORT}", self.net.address(place)),
                _ => "-".to_owned(),
            };
            let key = &self.keys[place];
            let Peer {
                name,
                role,
                address,
                behind,
            } = peer;
            table += &format!("{name}  {role}  {address}  {key}  {endpoint}  {behind}\n");
        }
        fs::write(self.table(), table).expect("a file");
    }

    fn write_conf(&self, place: usize) {
        let (table, key) = (self.table(), self.key_file(place));
        let name = self.peers[place].name;
        let conf = self.script(&["conf".as_ref(), table.as_ref(), name.as_ref(), key.as_ref()]);
        let file = self.conf_file(place);
        fs::write(&file, conf).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our file");
    }

    fn quick(&self, place: usize, verb: &str) {
        let conf = self.conf_file(place);
        self.run(place, "wg-quick", &[verb.as_ref(), conf.as_ref()]);
    }

    fn script(&self, arguments: &[&std::ffi::OsStr]) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let script = root.expect("a root").join("deploy/wireguard/overlay");
        let mut command = Command::new(script);
        let output = done(command.args(arguments).env("OVERLAY_NET", OVERLAY));
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // What is left of it goes with its namespace.
        for place in 0..self.peers.len() {
            let conf = self.conf_file(place);
            let mut command = self.inside(place, "wg-quick");
            command.arg("down").arg(conf).output().ok();
            fs::remove_file(Path::new(SOCKETS).join(format!("{}.sock", self.link(place)))).ok();
        }
    }
}

/// Removes the sockets of runs whose process is gone.
fn remove_dead_sockets() {
    for entry in fs::read_dir(SOCKETS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if net::is_leftover(name.split('w').next().unwrap_or_default()) {
            fs::remove_file(entry.path()).ok();
        }
    }
}

fn done(command: &mut Command) -> Output {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    output
}
