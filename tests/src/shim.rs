//! A disk that fails, or is slow, on command: `tests/shim/eio.c`, preloaded into a node.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::node::Node;

/// The switch of one failing directory.
pub struct FailingDisk {
    control: PathBuf,
}

impl FailingDisk {
    /// Builds the shim below `scratch`, and has the node, which must not be running, start with it.
    /// Writes and syncs below `dir` will fail once it is [broken](Self::break_down).
    pub fn install(node: &mut Node, scratch: &Path, dir: &Path) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/eio.c");
        let shim = scratch.join("eio.so");
        let status = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&shim)
            .arg(source)
            .arg("-ldl")
            .status()
            .expect("a C compiler, cc");
        assert!(status.success(), "the shim does not compile");
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
