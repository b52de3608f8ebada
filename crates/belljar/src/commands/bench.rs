use std::process::ExitCode;
use crate::arguments::BenchArguments;
pub fn run(_arguments: BenchArguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("being written")
}
