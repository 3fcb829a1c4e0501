//! `s3haul man`: the manual, made of the same words as the help.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::exit::{Exit, Failed};
use super::{Cli, print_text};

/// The arguments of `man`.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The command whose page is printed, such as `copy` or `manifest create` [default: s3haul's own]
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write all pages into this folder, a file a command
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    folder: Option<PathBuf>,
}

/// Runs `s3haul man`.
pub(super) fn run(args: &ManArgs) -> Result<u8, Failed> {
    // No pages of `help`: it only repeats the others.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    if let Some(folder) = &args.folder {
        write_all(command, folder).map_err(|error| {
            Failed::new(error, Exit::Usage).hinted(format!(
                "--folder {} must be a folder that can be written",
                folder.display()
            ))
        })?;
        return Ok(0);
    }
    for name in &args.command {
        command = command.find_subcommand(name).cloned().ok_or_else(|| {
            Failed::usage(format!(
                "{} has no command {name}",
                command.get_bin_name().unwrap_or("s3haul")
            ))
        })?;
    }
    let mut page = Vec::new();
    Man::new(command)
        .render(&mut page)
        .map_err(|error| Failed::new(error, Exit::Stopped))?;
    print_text(&page)?;
    Ok(0)
}

fn write_all(command: Command, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}
