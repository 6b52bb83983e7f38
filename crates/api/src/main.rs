//! The program `pbx-portal`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pbx_api::settings::{self, Environment, SettingsError};
use pbx_api::{Settings, check, logging, openapi, server};
use pbx_persistence::DatabaseError;

/// One heap for all threads. The system's allocator gives each thread that read a listing one of its
/// own and keeps what it grew to: 90 MiB stayed after every kind of work with 1000 users, 23 here.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

const ABOUT: &str = "Keeps users in PostgreSQL and makes Asterisk run with exactly them";
const ENVIRONMENT: &str = "\
Settings come from built-in defaults, then the settings file, then environment variables named
PBX_PORTAL__SECTION__KEY; secrets (DATABASE_URL, PBX_PORTAL__AUTH__TOKENS and
PBX_PORTAL__AUTH__READ_ONLY_TOKENS) from the environment only.
RUST_LOG sets the log level.";

/// `EX_CONFIG` of sysexits.h: another start with the same settings ends the same, so that systemd
/// need not try.
const MISCONFIGURED: u8 = 78;

#[derive(Parser)]
#[command(name = "pbx-portal", version, about = ABOUT, after_help = ENVIRONMENT)]
struct CommandLine {
    #[arg(long, value_name = "FILE", global = true, help = format!("The settings file [default: {}, if there is one]", settings::DEFAULT_FILE))]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Subcommand)]
enum Command {
    /// Migrate the database, then serve the API until SIGTERM or SIGINT
    Serve,
    /// Bring the database up to date and exit
    Migrate,
    /// Say point by point whether an apply would work and phones could call, and what to fix
    Check {
        /// Print only what is not well
        #[arg(long)]
        quiet: bool,
    },
    /// Print the OpenAPI document of the API
    Openapi,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match run(&line) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pbx-portal: {}", logging::OneLine(format!("{error:#}")));
            if is_misconfigured(&error) { ExitCode::from(MISCONFIGURED) } else { ExitCode::FAILURE }
        }
    }
}

fn run(line: &CommandLine) -> anyhow::Result<ExitCode> {
    // It depends on no setting.
    if let Command::Openapi = line.command {
        print(&openapi::json())?;
        return Ok(ExitCode::SUCCESS);
    }
    let environment = Environment::of_process()?;
    logging::start(environment.get("RUST_LOG"), environment.get("JOURNAL_STREAM"));
    let settings = || Settings::read(line.config.as_deref(), &environment);
    match line.command {
        Command::Serve => server::serve(settings()?)?,
        Command::Migrate => match server::migrate(&settings()?)?.as_slice() {
            [] => print("the database is up to date\n")?,
            applied => print(&format!("applied {}\n", applied.join(", ")))?,
        },
        Command::Check { quiet } => {
            return Ok(check::run(&Settings::survey(line.config.as_deref(), &environment), quiet));
        }
        Command::Openapi => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn is_misconfigured(error: &anyhow::Error) -> bool {
    error.is::<SettingsError>()
        || matches!(error.downcast_ref(), Some(DatabaseError::InvalidUrl | DatabaseError::WrongEncoding { .. }))
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "with UPDATE_GOLDEN the test writes what it compares with")]
mod tests {
    use std::process::Command;
    use std::{env, fs};

    use clap::CommandFactory as _;
    use clap_complete::{Shell, generate};

    use super::*;

    #[test]
    fn the_completions_are_those_of_the_command_line() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/completions");
        for (shell, name) in
            [(Shell::Bash, "pbx-portal.bash"), (Shell::Zsh, "_pbx-portal"), (Shell::Fish, "pbx-portal.fish")]
        {
            let mut generated = Vec::new();
            generate(shell, &mut CommandLine::command(), "pbx-portal", &mut generated);
            let generated = String::from_utf8(generated).unwrap();
            // For bash, the generator takes the hyphen of the name for the beginning of a subcommand in some places.
            let generated = generated.replace("pbx__subcmd__portal", "pbx__portal");
            let path = format!("{directory}/{name}");
            if env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, &generated).unwrap();
            }
            let is_current = fs::read_to_string(&path).unwrap_or_default() == generated;
            assert!(is_current, "{path} is old: run this with UPDATE_GOLDEN=1");
        }
    }

    #[test]
    fn bash_completes_the_options_of_a_subcommand() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/completions/pbx-portal.bash");
        let complete = format!(
            "source {script}; COMP_WORDS=(pbx-portal check --); COMP_CWORD=2; _pbx__portal pbx-portal -- check; \
             echo \"${{COMPREPLY[*]}}\""
        );
        let output = Command::new("bash").args(["-c", &complete]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "--quiet --config --help\n");
    }
}
