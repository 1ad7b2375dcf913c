//! `strongroom token`.

use std::io::{self, IsTerminal};

use clap::Subcommand;
use serde_json::json;
use strongroom_client::{NewToken, Page, TokenRow};
use zeroize::Zeroizing;

use super::{
    connect::To,
    exit::Failure,
    render::{self, line, or_dash, table},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a token, and print it: it is shown once, and never again.
    Create {
        /// What people call it.
        name: String,
        /// Its role.
        #[arg(long)]
        role: String,
        /// How many seconds it lasts; for ever if it is left out.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u64>,
        /// An address or CIDR that it may be used from; as often as needed.
        #[arg(long = "from", value_name = "CIDR")]
        from: Vec<String>,
        /// How often it may be used.
        #[arg(long)]
        uses: Option<u64>,
    },
    /// List the tokens, without what they are.
    List,
    /// Revoke a token: no node accepts it any more.
    Revoke {
        /// What people call it.
        name: String,
    },
}

pub(crate) async fn run(to: &To, command: &Command) -> Result<(), Failure> {
    let client = to.client()?;
    match command {
        Command::Create {
            name,
            role,
            ttl,
            from,
            uses,
        } => {
            let new = NewToken {
                name: name.clone(),
                role: role.clone(),
                ttl_secs: *ttl,
                bound_cidrs: from.clone(),
                num_uses: *uses,
            };
            let made = client.create_token(&new).await?;
            let text = made.token.expose();
            let end = if io::stdout().is_terminal() { "\n" } else { "" };
            // A token holds nothing that JSON would escape.
            let shown = Zeroizing::new(match to.json {
                true => format!("{{\"name\":\"{name}\",\"token\":\"{text}\"}}\n"),
                false => format!("{text}{end}"),
            });
            render::write(shown.as_bytes())
        }
        Command::List => {
            let (mut page, mut tokens) = (Page::default(), Vec::new());
            loop {
                let found = client.tokens(&page).await?;
                tokens.extend(found.rows);
                page.after = found.next_after;
                if page.after.is_none() {
                    break;
                }
            }
            if to.json {
                return render::json(&tokens);
            }
            let rows: Vec<_> = tokens.iter().map(cells).collect();
            table(&["NAME", "ROLE", "EXPIRES", "LAST USED", "ENDED"], &rows)
        }
        Command::Revoke { name } => {
            client.revoke_token(name).await?;
            match to.json {
                true => render::json(&json!({"name": name, "revoked": true})),
                false => line(&format!("{name} is revoked")),
            }
        }
    }
}

fn cells(token: &TokenRow) -> Vec<String> {
    vec![
        token.name.clone(),
        token.role.clone(),
        or_dash(token.expires_at.as_ref()),
        or_dash(token.last_used_at.as_ref()),
        or_dash(token.ended_at.as_ref()),
    ]
}
