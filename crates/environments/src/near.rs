use crate::requirement::Ecosystem;
pub(crate) fn near_matches(_: Ecosystem, _: &str) -> Vec<&'static str> { Vec::new() }
