//! A network of namespaces: one for each node, on a bridge, with rules for what arrives.
//!
//! What is lost is dropped by nftables where it arrives, so a cut has a direction. A slow link is
//! `netem` where the kernel has it; else a link so narrow that packets queue (`tbf`).

use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    process::{Command, Stdio},
};

/// What the names of all namespaces and links of this harness begin with; a process id follows.
const PREFIX: &str = "srf";

/// A bridge and as many namespaces. Dropping it removes them.
#[derive(Debug)]
pub struct Net {
    tag: String,
    subnet: [u8; 3],
    count: usize,
}

/// Why this machine cannot have such a network; `None` if it can.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    let probe = format!("{PREFIX}{}-probe", std::process::id());
    let tried = try_run("ip", &["netns", "add", &probe], "")
        .and_then(|()| try_run("ip", &["netns", "exec", &probe, "nft", "-f", "-"], TABLE))
        .and_then(|()| try_run("tc", &["-Version"], ""));
    try_run("ip", &["netns", "del", &probe], "").ok();
    tried.err()
}

/// A name that is removed with the rest once this process is gone.
pub fn name(rest: &str) -> String {
    format!("{PREFIX}{}{rest}", std::process::id())
}

/// The rules of a node before there are any.
const TABLE: &str =
    "table inet faults {\n chain arriving { type filter hook input priority 0; }\n}\n";

impl Net {
    /// Makes it, after what dead runs have left was removed.
    pub fn up(count: usize) -> Self {
        remove_leftovers();
        let pid = std::process::id();
        let byte = |number: u32| u8::try_from(number % 128).expect("below 128");
        let net = Self {
            tag: name(""),
            subnet: [10, 64 + byte(pid), byte(pid / 128)],
            count,
        };
        let bridge = net.tag.as_str();
        let outside = format!("{}/24", net.outside());
        ip(&["link", "add", bridge, "type", "bridge"]);
        ip(&["addr", "add", &outside, "dev", bridge]);
        ip(&["link", "set", bridge, "up"]);
        for node in 0..count {
            let (space, port) = (net.space(node), format!("{bridge}v{node}"));
            let address = format!("{}/24", net.address(node));
            ip(&["netns", "add", &space]);
            ip(&[
                "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &space,
            ]);
            ip(&["link", "set", &port, "master", bridge, "up"]);
            for link in ["lo", "eth0"] {
                ip(&["-n", &space, "link", "set", link, "up"]);
            }
            ip(&["-n", &space, "addr", "add", &address, "dev", "eth0"]);
            net.rules(node, TABLE);
        }
        net
    }

    /// The name of a node's namespace.
    pub fn space(&self, node: usize) -> String {
        format!("{}-{node}", self.tag)
    }

    /// A node's address.
    pub fn address(&self, node: usize) -> Ipv4Addr {
        self.host(u8::try_from(node).expect("few nodes") + 1)
    }

    /// The address of whoever is outside: the clients.
    pub fn outside(&self) -> Ipv4Addr {
        self.host(254)
    }

    fn host(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last)
    }

    /// All nodes but one.
    pub fn others(&self, node: usize) -> Vec<usize> {
        (0..self.count).filter(|other| *other != node).collect()
    }

    /// From now on nothing that these nodes send arrives at `node`. Clients are not concerned.
    pub fn cut(&self, node: usize, from: &[usize]) {
        self.drop_at(node, from, "");
    }

    /// From now on so many of a hundred packets from other nodes are lost before `node`.
    pub fn lose(&self, node: usize, percent: u32) {
        let some = format!("numgen random mod 100 < {percent}");
        self.drop_at(node, &self.others(node), &some);
    }

    fn drop_at(&self, node: usize, from: &[usize], which: &str) {
        let from: Vec<String> = from
            .iter()
            .map(|node| self.address(*node).to_string())
            .collect();
        let from = from.join(", ");
        let rule = format!("add rule inet faults arriving ip saddr {{ {from} }} {which} drop\n");
        self.rules(node, &rule);
    }

    /// From now on what `node` sends, to whomever, is late. Returns by which means.
    pub fn slow(&self, node: usize) -> &'static str {
        let space = self.space(node);
        let start = ["-n", &space, "qdisc", "replace", "dev", "eth0", "root"];
        let netem = [&start[..], &["netem", "delay", "80ms", "40ms"]].concat();
        if try_run("tc", &netem, "").is_ok() {
            return "netem";
        }
        let tbf = ["tbf", "rate", "300kbit", "burst", "3000", "limit", "60000"];
        run("tc", &[&start[..], &tbf].concat(), "");
        "tbf"
    }

    /// Everything arrives again, and at once.
    pub fn heal(&self) {
        for node in 0..self.count {
            self.rules(node, "flush chain inet faults arriving\n");
            let space = self.space(node);
            try_run(
                "tc",
                &["-n", &space, "qdisc", "del", "dev", "eth0", "root"],
                "",
            )
            .ok();
        }
    }

    fn rules(&self, node: usize, script: &str) {
        let space = self.space(node);
        run("ip", &["netns", "exec", &space, "nft", "-f", "-"], script);
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for node in 0..self.count {
            // Sockets of the dead may keep a namespace alive, and with it its link, for a while.
            let port = format!("{}v{node}", self.tag);
            try_run("ip", &["link", "del", &port], "").ok();
            remove_space(&self.space(node));
        }
        try_run("ip", &["link", "del", &self.tag], "").ok();
    }
}

/// Removes what runs have left whose process is gone.
fn remove_leftovers() {
    let listed = output("ip", &["netns", "list"]);
    let spaces = listed.lines().filter_map(|line| line.split(' ').next());
    for space in spaces {
        let tag = space.split('-').next().unwrap_or_default();
        if is_leftover(tag) {
            remove_space(space);
        }
    }
    let links = output("ip", &["-o", "link", "show"]);
    for line in links.lines() {
        let link = line
            .split([' ', ':', '@'])
            .find(|word| word.starts_with(PREFIX));
        let link = link.unwrap_or_default();
        if is_leftover(link.split('v').next().unwrap_or_default()) {
            try_run("ip", &["link", "del", link], "").ok();
        }
    }
}

/// Whether this name is ours and its process is gone.
pub fn is_leftover(tag: &str) -> bool {
    let pid = tag
        .strip_prefix(PREFIX)
        .and_then(|pid| pid.parse::<u32>().ok());
    // A process that ended and that nobody has asked about is there still, without a command line.
    let command = |pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    pid.is_some_and(|pid| command(pid).is_empty())
}

/// Ends whatever runs in a namespace, and removes it.
fn remove_space(space: &str) {
    for pid in output("ip", &["netns", "pids", space]).lines() {
        let pid = pid
            .trim()
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }
    try_run("ip", &["netns", "del", space], "").ok();
}

fn ip(arguments: &[&str]) {
    run("ip", arguments, "");
}

fn run(program: &str, arguments: &[&str], input: &str) {
    if let Err(error) = try_run(program, arguments, input) {
        panic!("{error}");
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// Runs a program; the error says which and why.
fn try_run(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let failed = |why: String| format!("{program} {}: {why}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that reads nothing may have ended already.
        stdin.write_all(input.as_bytes()).ok();
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}
