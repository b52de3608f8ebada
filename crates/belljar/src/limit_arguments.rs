//! The flags that limit resources, made from the table of limits.

use belljar_protocol::{Bytes, LIMITS, Limit, LimitUnit, Millis, RequestedLimits};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};

/// The limits that the flags set, the same for `run` and `mcp`.
#[derive(Debug)]
pub struct LimitArguments(pub RequestedLimits);

impl Args for LimitArguments {
    fn augment_args(command: Command) -> Command {
        command.args(LIMITS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LimitArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(RequestedLimits::from_each(|limit| match limit.unit {
            LimitUnit::Time => matches.get_one::<Millis>(limit.flag).map(|time| time.0),
            LimitUnit::Size => matches.get_one::<Bytes>(limit.flag).map(|size| size.0),
            LimitUnit::Count => matches.get_one::<u32>(limit.flag).map(|&count| u64::from(count)),
        })))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = Self::from_arg_matches(matches)?.0.or(self.0);
        Ok(())
    }
}

/// Returns the flag of a limit.
fn flag(limit: &'static Limit) -> Arg {
    let help = format!("{} [default: {}]", limit.help, limit.unit.typed(limit.local_default));
    let flag = Arg::new(limit.flag)
        .long(limit.flag)
        .allow_hyphen_values(true)
        .help_heading("Limits")
        .help(&help);
    // The last sentence is about the two limits that depend on the machine.
    let server = (limit.local_default != limit.default).then(|| {
        format!(
            "On a machine with little memory, the default is half of its memory. On a server, it \
             is {}.",
            limit.unit.typed(limit.default)
        )
    });
    let details: Vec<&str> = limit.details.into_iter().chain(server.as_deref()).collect();
    let flag = if details.is_empty() {
        flag
    } else {
        flag.long_help(format!("{help}\n\n{}", details.join(" ")))
    };
    match limit.unit {
        LimitUnit::Time => flag.value_name("TIME").value_parser(value_parser!(Millis)),
        LimitUnit::Size => flag.value_name("SIZE").value_parser(value_parser!(Bytes)),
        LimitUnit::Count => flag.value_name("NUMBER").value_parser(value_parser!(u32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_flag_that_sets_it_and_no_other() {
        let command = LimitArguments::augment_args(Command::new("test"));
        command.clone().debug_assert();
        for limit in &LIMITS {
            let value = limit.unit.typed(limit.max);
            let flag = format!("--{}", limit.flag);
            let matches = command.clone().try_get_matches_from(["test", &flag, &value]).unwrap();
            let LimitArguments(requested) = LimitArguments::from_arg_matches(&matches).unwrap();
            let expected =
                RequestedLimits::from_each(|other| (other == limit).then_some(other.max));
            assert_eq!(requested, expected, "{flag} {value}");
        }
    }
}
