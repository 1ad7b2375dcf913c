//! What fails on command, preloaded into a node: a disk (`tests/shim/eio.c`), a clock
//! (`tests/shim/clock.c`).

use std::{
    fs,
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

/// One node's wall clock.
pub struct WrongClock {
    control: PathBuf,
}

impl WrongClock {
    /// Builds the shim below `scratch`, and has the node, which must not be running, start with it.
    pub fn install(node: &mut Node, scratch: &Path) -> Self {
        let shim = compiled("clock", scratch);
        let control = scratch.join(format!("node-{}.clock", node.id));
        for (key, path) in [("LD_PRELOAD", &shim), ("CLOCK_CONTROL", &control)] {
            node.env.insert(key.to_owned(), path.display().to_string());
        }
        Self { control }
    }

    /// From now on it says so many seconds more, or less.
    pub fn set(&self, ahead_secs: i64) {
        let aside = self.control.with_extension("new");
        fs::write(&aside, ahead_secs.to_string()).expect("the control file");
        fs::rename(&aside, &self.control).expect("the control file");
    }
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
        for (key, path) in [
            ("LD_PRELOAD", shim.as_path()),
            ("EIO_DIR", dir),
            ("EIO_CONTROL", control.as_path()),
        ] {
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

    /// From now on they work again.
    pub fn heal(&self) {
        fs::remove_file(&self.control).expect("the control file");
    }
}
