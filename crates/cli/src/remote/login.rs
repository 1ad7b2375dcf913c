//! `strongroom login`.

use std::{fs, io::Write, path::Path};

use strongroom_client::{Page, Token};

use super::{
    connect::{To, token_file},
    exit::Failure,
    input, render,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    to: To,
    /// Caught, so that a token given as an argument is refused without being repeated.
    #[arg(hide = true, num_args = 0.., allow_hyphen_values = true)]
    extra: Vec<std::ffi::OsString>,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.extra.is_empty() {
        return Err(Failure::Usage(
            "no token is taken from arguments, which others can see: give it on standard input"
                .to_owned(),
        ));
    }
    let client = arguments.to.without_token()?;
    let Some(path) = token_file() else {
        let why = "neither HOME nor STRONGROOM_TOKEN_FILE says where to keep the token";
        return Err(Failure::Usage(why.to_owned()));
    };
    let text = input::from_stdin("Token").await?;
    let text = text.trim();
    let client = client.with_token(Token::new(text.to_owned()));
    // Any good token may ask for the list of what its role may act on.
    let page = Page {
        limit: Some(1),
        ..Page::default()
    };
    client.list(&page).await?;
    keep(&path, text).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    render::line(&format!(
        "the token is good, and kept in {}",
        path.display()
    ))
}

/// Replaces the file at once, by one that is its owner's alone.
fn keep(path: &Path, token: &str) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(token.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
