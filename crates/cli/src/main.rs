//! The one binary: `strongroom server`, `strongroom dev`, and every command.

mod alloc;
mod audit;
mod backup;
mod cluster_key;
mod dev;
mod doctor;
#[cfg(test)]
mod page;
mod recover;
mod remote;
mod server;
mod shell;
mod tls;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[global_allocator]
static HEAP: alloc::ForgetfulHeap = alloc::ForgetfulHeap;

/// A clustered secrets server for small teams.
#[derive(Parser)]
#[command(
    name = "strongroom",
    version,
    disable_version_flag = true,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node, configured by environment variables (docs/CONFIG.md lists them).
    Server {
        /// Print the effective settings, sensitive ones redacted, and exit.
        #[arg(long)]
        check_config: bool,
    },
    /// Run a single node to try things out: nothing to configure, and nothing to rely on.
    Dev {
        /// The port to listen on, at 127.0.0.1.
        #[arg(long, default_value_t = 8200)]
        port: u16,
        /// Keep the data here, instead of in a temporary directory.
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
    /// Look at settings, disk, ports, other nodes, clock and KMS rights as a server would meet them here, and
    /// say what to do. Exit code 1 if something will not work.
    Doctor {
        #[command(flatten)]
        to: remote::To,
    },
    /// Make a cluster of one out of what a node holds, when most of the others are gone for good.
    Recover(recover::Arguments),
    /// Make the key that nodes know each other by; KMS is found as the server finds it.
    ClusterKey {
        #[command(subcommand)]
        command: ClusterKeyCommand,
    },
    /// Certificates for TLS on the API.
    Tls {
        #[command(subcommand)]
        command: TlsCommand,
    },
    /// Look at a node's audit trail: over the API, or at its files.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Take a backup, or look at one.
    Backup {
        #[command(subcommand)]
        command: BackupCommand,
    },
    #[command(flatten)]
    Remote(remote::Command),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: shell::Shell,
    },
    /// Write man pages into a directory.
    Man {
        /// The directory.
        dir: PathBuf,
    },
    /// Print the version, the build, and the formats it reads and writes.
    Version,
}

#[derive(Subcommand)]
enum ClusterKeyCommand {
    /// Print a new cluster key, wrapped by KMS, for VAULT_CLUSTER_KEY.
    New,
    /// Print the key in VAULT_CLUSTER_KEY, wrapped anew by the KMS key in use.
    Rewrap,
}

#[derive(Subcommand)]
enum TlsCommand {
    /// Make an authority and a certificate of it, to try TLS out; nothing for production.
    DevCa {
        /// The directory for the files. Nothing in it is overwritten.
        dir: PathBuf,
        /// A name or an address that clients reach the server by, beside those of this machine.
        #[arg(long = "name", value_name = "HOST_OR_IP")]
        names: Vec<String>,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Print a node's newest records.
    Tail(remote::Tail),
    /// Print a node's records that match.
    Query(remote::Query),
    /// Check the chain of an audit directory, and name the first record that does not fit.
    Verify {
        /// The directory.
        dir: PathBuf,
    },
}

#[derive(Subcommand)]
enum BackupCommand {
    /// Take a backup into a new file, over the API, and check it.
    Create {
        #[command(flatten)]
        to: remote::To,
        /// The file.
        file: PathBuf,
    },
    /// Check that a file is a whole backup, and say what is in it.
    Verify {
        /// The file.
        file: PathBuf,
        /// Also open every value, with the KMS settings of the server's environment. None is shown.
        #[arg(long)]
        open: bool,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Server { check_config: true } => server::check_config(),
        Command::Server {
            check_config: false,
        } => server::run(),
        Command::Dev { port, data_dir } => dev::run(port, data_dir),
        Command::Recover(arguments) => recover::run(&arguments),
        Command::ClusterKey { command } => cluster_key::run(&command),
        Command::Tls {
            command: TlsCommand::DevCa { dir, names },
        } => tls::dev_ca(&dir, &names),
        Command::Audit {
            command: AuditCommand::Verify { dir },
        } => audit::verify(&dir),
        Command::Backup {
            command: BackupCommand::Verify { file, open },
        } => backup::verify(&file, open),
        Command::Audit {
            command: AuditCommand::Tail(arguments),
        } => remote::tail(&arguments),
        Command::Audit {
            command: AuditCommand::Query(arguments),
        } => remote::query(&arguments),
        Command::Backup {
            command: BackupCommand::Create { to, file },
        } => remote::create_backup(&to, &file),
        Command::Doctor { to } => doctor::run(&to),
        Command::Remote(command) => remote::run(&command),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { dir } => shell::man(&dir),
        Command::Version => version(),
    }
}

/// Prints to standard output; a closed pipe is no error.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        // Whoever closed the pipe does not read on.
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}
pub(crate) use say;

/// Prints to standard error.
macro_rules! complain {
    ($($text:tt)*) => {{
        use std::io::Write;
        // There is nowhere left to report a failure to.
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use complain;

fn version() -> ExitCode {
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let formats = strongroom_server::formats();
    say!(
        "strongroom {} ({build}, {})",
        strongroom_server::VERSION,
        std::env::consts::ARCH
    );
    say!("commands: reads and writes format {}", formats.commands);
    say!(
        "data directory: reads and writes format {}",
        formats.data_directory
    );
    say!(
        "log on disk: writes format {}, and takes over those before",
        formats.log
    );
    say!("messages between nodes: speaks format {}", formats.messages);
    ExitCode::SUCCESS
}
