//! `strongroom completions` and `strongroom man`.

use std::{path::Path, process::ExitCode};

use clap::{CommandFactory, ValueEnum};

use crate::{Arguments, complain};

/// A shell that completions can be made for.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    /// Bash.
    Bash,
    /// Fish.
    Fish,
    /// Zsh.
    Zsh,
}

pub(crate) fn completions(shell: Shell) -> ExitCode {
    use clap_complete::Shell as Made;
    let made = match shell {
        Shell::Bash => Made::Bash,
        Shell::Fish => Made::Fish,
        Shell::Zsh => Made::Zsh,
    };
    let mut script = Vec::new();
    clap_complete::generate(made, &mut Arguments::command(), "strongroom", &mut script);
    // Whoever closed the pipe does not read on.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
    ExitCode::SUCCESS
}

pub(crate) fn man(dir: &Path) -> ExitCode {
    let made = std::fs::create_dir_all(dir);
    match made.and_then(|()| clap_mangen::generate_to(Arguments::command(), dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("{}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}
