//! `s3haul completions`: what a shell completes.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use super::exit::Failed;
use super::{Cli, print_text};

/// The arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell that reads them
    #[arg(value_enum)]
    shell: Completed,
}

/// Shells that complete s3haul's flags.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Completed {
    Bash,
    Zsh,
    Fish,
}

/// Runs `s3haul completions`.
pub(super) fn run(args: &CompletionsArgs) -> Result<u8, Failed> {
    let shell = match args.shell {
        Completed::Bash => Shell::Bash,
        Completed::Zsh => Shell::Zsh,
        Completed::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "s3haul", &mut script);
    print_text(&script)?;
    Ok(0)
}
