//! What fails on command, preloaded into a node: a disk (`tests/shim/eio.c`), a clock
//! (`tests/shim/clock.c`), the power (`tests/shim/undo.c`).

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::node::Node;

fn compiled(name: &str, scratch: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("shim/{name}.c"));
    let shim = scratch.join(format!("{name}.so"));
    let status = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(&shim)
        .arg(source)
        .arg("-ldl")
        .status()
        .expect("a C compiler, cc");
    assert!(status.success(), "the shim does not compile");
    shim
}

/// Has the node start with this shim beside those that it has.
fn preload(node: &mut Node, shim: &Path) {
    let all = node.env.entry("LD_PRELOAD".to_owned()).or_default();
    if !all.is_empty() {
        all.push(':');
    }
    all.push_str(&shim.display().to_string());
}

/// One node's wall clock.
pub struct WrongClock {
    control: PathBuf,
}

impl WrongClock {
    /// Builds the shim below `scratch`, and has the node, which must not be running, start with it.
    pub fn install(node: &mut Node, scratch: &Path) -> Self {
        let shim = compiled("clock", scratch);
        let control = scratch.join(format!("node-{}.clock", node.id));
        preload(node, &shim);
        let path = control.display().to_string();
        node.env.insert("CLOCK_CONTROL".to_owned(), path);
        Self { control }
    }

    /// From now on it says so many seconds more, or less.
    pub fn set(&self, ahead_secs: i64) {
        let aside = self.control.with_extension("new");
        fs::write(&aside, ahead_secs.to_string()).expect("the control file");
        fs::rename(&aside, &self.control).expect("the control file");
    }
}

/// One node's power: what its store had not synced can be taken back.
pub struct PowerCut {
    record: PathBuf,
}

impl PowerCut {
    /// Builds the shim below `scratch`, and has the node, which must not be running, start with it.
    pub fn install(node: &mut Node, scratch: &Path) -> Self {
        let shim = compiled("undo", scratch);
        let record = scratch.join(format!("node-{}.undo", node.id));
        preload(node, &shim);
        for (key, path) in [("UNDO_DIR", &node.data_dir), ("UNDO_FILE", &record)] {
            node.env.insert(key.to_owned(), path.display().to_string());
        }
        Self { record }
    }

    /// Of each file that holds vote and log: its name, and where what was not synced is recorded.
    fn records(&self) -> [(&'static str, PathBuf); 3] {
        ["db", "journal.0", "journal.1"].map(|name| {
            let prefix = self.record.display();
            (name, PathBuf::from(format!("{prefix}.{name}")))
        })
    }

    /// Forgets what was not synced: the file system of a process that was only killed keeps it.
    pub fn forget(&self) {
        for (_, record) in self.records() {
            fs::write(record, "").expect("the record");
        }
    }

    /// Takes what was not synced out of the files that hold vote and log, of a node that was killed.
    /// Other files are left as they are. Returns how many writes are gone.
    pub fn undo(&self, node: &Node) -> usize {
        let log = node.data_dir.join("log");
        self.records()
            .iter()
            .map(|(name, record)| undo_file(&log.join(name), record))
            .sum()
    }
}

fn undo_file(file: &Path, record: &Path) -> usize {
    // A file that was never written to has none.
    let record = match fs::read(record) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return 0,
        record => record.expect("the record"),
    };
    let mut rest = record.as_slice();
    let mut kept = Vec::new();
    // What is cut short at the end was recorded for a write that was never made.
    while let Some((head, bytes)) = rest.split_at_checked(24) {
        let number = |at: usize| {
            let bytes = head[at..at + 8].try_into().expect("eight bytes");
            u64::from_ne_bytes(bytes)
        };
        let count = usize::try_from(number(16)).expect("a length");
        let Some((old, after)) = bytes.split_at_checked(count) else {
            break;
        };
        kept.push((number(0), number(8), old));
        rest = after;
    }
    if kept.is_empty() {
        return 0;
    }
    let file = File::options().write(true).open(file).expect("the store");
    for (length, at, old) in kept.iter().rev() {
        file.set_len(*length).expect("the store");
        file.write_all_at(old, *at).expect("the store");
    }
    kept.len()
}

/// The switch of one failing directory.
pub struct FailingDisk {
    control: PathBuf,
}

impl FailingDisk {
    /// Builds the shim below `scratch`, and has the node, which must not be running, start with it.
    /// Writes and syncs below `dir` will fail once it is [broken](Self::break_down).
    pub fn install(node: &mut Node, scratch: &Path, dir: &Path) -> Self {
        let shim = compiled("eio", scratch);
        let control = scratch.join(format!("node-{}.eio", node.id));
        preload(node, &shim);
        for (key, path) in [("EIO_DIR", dir), ("EIO_CONTROL", control.as_path())] {
            node.env.insert(key.to_owned(), path.display().to_string());
        }
        Self { control }
    }

    /// The same, with another error than EIO.
    pub fn install_with(node: &mut Node, scratch: &Path, dir: &Path, errno: i32) -> Self {
        node.env.insert("EIO_ERRNO".to_owned(), errno.to_string());
        Self::install(node, scratch, dir)
    }

    /// From now on writes and syncs fail.
    pub fn break_down(&self) {
        fs::write(&self.control, "").expect("the control file");
    }

    /// From now on syncs take this much longer, and nothing fails.
    pub fn slow_down(&self, by: Duration) {
        // Replaced as a whole: an empty file would mean another thing.
        let aside = self.control.with_extension("new");
        fs::write(&aside, by.as_millis().to_string()).expect("the control file");
        fs::rename(&aside, &self.control).expect("the control file");
    }

    /// From now on there is no space left: what makes a file longer fails.
    pub fn fill_up(&self) {
        // Replaced as a whole: an empty file would mean another thing.
        let aside = self.control.with_extension("new");
        fs::write(&aside, "full").expect("the control file");
        fs::rename(&aside, &self.control).expect("the control file");
    }

    /// From now on they work again.
    pub fn heal(&self) {
        fs::remove_file(&self.control).expect("the control file");
    }
}
