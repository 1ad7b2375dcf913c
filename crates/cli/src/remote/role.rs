//! `strongroom role`.

use clap::Subcommand;
use serde_json::json;
use strongroom_client::{NewRole, Page, Permission, Role};

use super::{
    connect::To,
    exit::Failure,
    render::{self, line, table},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a role.
    Create {
        /// The role's name.
        name: String,
        /// What it may do, as ACTION:PATH, such as update:app/*; as often as needed.
        #[arg(long = "allow", value_name = "ACTION:PATH")]
        allow: Vec<String>,
        /// It may do everything.
        #[arg(long)]
        admin: bool,
        /// For people.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List the roles.
    List,
    /// Show a role's permissions.
    Show {
        /// The role's name.
        name: String,
    },
    /// Delete a role that no live token has.
    Delete {
        /// The role's name.
        name: String,
    },
}

fn permission(text: &str) -> Result<Permission, Failure> {
    match text.split_once(':') {
        Some((action, path)) => Ok(Permission {
            action: action.to_owned(),
            path: path.to_owned(),
        }),
        None => Err(Failure::Usage(
            "--allow takes ACTION:PATH, such as update:app/*".to_owned(),
        )),
    }
}

pub(crate) async fn run(to: &To, command: &Command) -> Result<(), Failure> {
    let client = to.client()?;
    match command {
        Command::Create {
            name,
            allow,
            admin,
            description,
        } => {
            let role = NewRole {
                name: name.clone(),
                description: description.clone(),
                is_admin: *admin,
                permissions: allow
                    .iter()
                    .map(|text| permission(text))
                    .collect::<Result<_, _>>()?,
            };
            show(to, &client.create_role(&role).await?)
        }
        Command::List => {
            let (mut page, mut roles) = (Page::default(), Vec::new());
            loop {
                let found = client.roles(&page).await?;
                roles.extend(found.rows);
                page.after = found.next_after;
                if page.after.is_none() {
                    break;
                }
            }
            if to.json {
                return render::json(&roles);
            }
            let rows: Vec<_> = roles.iter().map(cells).collect();
            table(&["NAME", "ADMIN", "PERMISSIONS", "DESCRIPTION"], &rows)
        }
        Command::Show { name } => show(to, &client.role(name).await?),
        Command::Delete { name } => {
            client.delete_role(name).await?;
            match to.json {
                true => render::json(&json!({"name": name, "deleted": true})),
                false => line(&format!("{name} is deleted")),
            }
        }
    }
}

fn cells(role: &Role) -> Vec<String> {
    let admin = if role.is_admin { "yes" } else { "no" };
    let permissions = role.permissions.len().to_string();
    vec![
        role.name.clone(),
        admin.to_owned(),
        permissions,
        role.description.clone(),
    ]
}

fn show(to: &To, role: &Role) -> Result<(), Failure> {
    if to.json {
        return render::json(role);
    }
    if role.is_admin {
        return line(&format!("{} may do everything", role.name));
    }
    let rows = role.permissions.iter();
    let rows = rows.map(|one| vec![one.action.clone(), one.path.clone()]);
    table(&["ACTION", "PATH"], &rows.collect::<Vec<_>>())
}
