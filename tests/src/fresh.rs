//! Whether a program is as new as what it was made of: a test of this package does not build the server, and one that runs
//! an old server shows nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

fn changed(path: &Path) -> io::Result<SystemTime> {
    path.metadata()?.modified()
}

/// Checks a program that cargo built, by the list of sources that it left beside it.
///
/// # Errors
/// What is newer than the program, or that the list cannot be read.
pub fn check(program: &Path) -> Result<(), String> {
    let list = program.with_extension("d");
    let unreadable = |error| format!("{}: {error}", list.display());
    let text = fs::read_to_string(&list).map_err(unreadable)?;
    let built = changed(program).map_err(unreadable)?;
    let newer = sources(&text).find(|source| {
        // One that is gone was part of it as well.
        changed(source).is_ok_and(|changed| changed > built) || !source.exists()
    });
    match newer {
        None => Ok(()),
        Some(source) => Err(format!(
            "{} is older than {}: run `cargo build -p strongroom` first",
            program.display(),
            source.display()
        )),
    }
}

/// The files that a list of cargo's names: a rule of make, with blanks in names behind backslashes.
fn sources(list: &str) -> impl Iterator<Item = PathBuf> {
    let (_, sources) = list.split_once(": ").unwrap_or_default();
    let sources = sources.replace("\\ ", "\0");
    let sources: Vec<_> = sources
        .split_whitespace()
        .map(|source| source.replace('\0', " ").into())
        .collect();
    sources.into_iter()
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::Duration};

    use super::*;

    #[test]
    fn a_program_older_than_a_source_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let [program, source] = ["program", "a source.rs"].map(|name| dir.path().join(name));
        for path in [&program, &source] {
            fs::write(path, "").unwrap();
        }
        assert!(check(&program).is_err(), "no list");
        let named = source.display().to_string().replace(' ', "\\ ");
        let list = format!("{}: {named}\n", program.display());
        fs::write(dir.path().join("program.d"), list).unwrap();
        let age = |path: &Path, seconds| {
            let at = SystemTime::now() - Duration::from_secs(seconds);
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(at).unwrap();
        };
        age(&program, 10);
        age(&source, 20);
        assert_eq!(check(&program), Ok(()));
        age(&source, 5);
        assert!(check(&program).unwrap_err().contains("a source.rs"));
        fs::remove_file(&source).unwrap();
        assert!(check(&program).is_err());
    }
}
