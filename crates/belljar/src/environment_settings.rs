//! The limits of environments: the section `[environments]` of a server's configuration, and the
//! environment variables that override it and that commands without a configuration use.

use std::time::Duration;

use anyhow::Context;
use belljar_environments::EnvironmentsConfig;
use belljar_protocol::{Bytes, Millis};
use serde::Deserialize;

use crate::hint::WithHint;

/// The limits of environments. Omitted ones have the defaults of [`EnvironmentsConfig::new`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnvironmentSettings {
    /// The maximum size of one environment. Default 4 GB.
    pub environment_bytes: Option<Bytes>,
    /// The maximum number of files and folders in one environment. Default 200,000.
    pub files: Option<u64>,
    /// The approximate maximum size of all environments together. Beyond it, the least recently
    /// used are removed. Default 20 GB.
    pub keep_bytes: Option<Bytes>,
    /// The timeout of one installation. Default ten minutes.
    pub install_ms: Option<Millis>,
    /// The memory limit of an installer. Default 4 GB.
    pub install_memory_bytes: Option<Bytes>,
}

impl EnvironmentSettings {
    /// Returns these settings, overridden by environment variables.
    pub fn with_variables(self, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let number = |name: &str| -> anyhow::Result<Option<u64>> {
            let Some(text) = variable(name).filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            let number = text
                .parse()
                .with_context(|| format!("{name} is `{text}`, which is not a whole number"))
                .hint("correct or unset the variable")?;
            Ok(Some(number))
        };
        Ok(Self {
            environment_bytes: number("BELLJAR_ENVIRONMENT_BYTES")?
                .map(Bytes)
                .or(self.environment_bytes),
            files: number("BELLJAR_ENVIRONMENT_FILES")?.or(self.files),
            keep_bytes: number("BELLJAR_ENVIRONMENTS_KEEP_BYTES")?.map(Bytes).or(self.keep_bytes),
            install_ms: number("BELLJAR_INSTALL_MS")?.map(Millis).or(self.install_ms),
            install_memory_bytes: number("BELLJAR_INSTALL_MEMORY_BYTES")?
                .map(Bytes)
                .or(self.install_memory_bytes),
        })
    }

    /// Applies these settings to a configuration.
    pub fn apply(&self, config: &mut EnvironmentsConfig) {
        let limits = &mut config.limits;
        limits.environment_bytes =
            self.environment_bytes.map_or(limits.environment_bytes, |bytes| bytes.0);
        limits.files = self.files.unwrap_or(limits.files);
        limits.time = self.install_ms.map_or(limits.time, |time| Duration::from_millis(time.0));
        limits.memory_bytes =
            self.install_memory_bytes.map_or(limits.memory_bytes, |bytes| bytes.0);
        config.max_total_bytes = self.keep_bytes.map_or(config.max_total_bytes, |bytes| bytes.0);
    }
}

#[cfg(test)]
mod tests {
    use belljar_environments::InstallLimits;
    use belljar_provision::ProvisionConfig;

    use super::*;
    use crate::server_config::ServerConfig;

    fn configured(settings: &EnvironmentSettings) -> EnvironmentsConfig {
        let mut config = EnvironmentsConfig::new(ProvisionConfig::new("/cache".into()));
        settings.apply(&mut config);
        config
    }

    #[test]
    fn a_section_sets_what_it_names_and_variables_override_it() {
        let text = "[environments]\nenvironment_bytes = 1\nfiles = 2\nkeep_bytes = 3\ninstall_ms = 4000\ninstall_memory_bytes = 5\n";
        let settings = toml::from_str::<ServerConfig>(text).unwrap().environments;
        let limits = InstallLimits {
            time: Duration::from_secs(4),
            memory_bytes: 5,
            environment_bytes: 1,
            files: 2,
        };
        let config = configured(&settings);
        assert_eq!((config.limits, config.max_total_bytes), (limits, 3));
        let over = settings
            .with_variables(|name| (name == "BELLJAR_ENVIRONMENT_FILES").then(|| "7".to_owned()))
            .unwrap();
        assert_eq!(configured(&over).limits, InstallLimits { files: 7, ..limits });
    }

    #[test]
    fn omitted_settings_keep_their_defaults() {
        let (config, default) = (
            configured(&EnvironmentSettings::default()),
            EnvironmentsConfig::new(ProvisionConfig::new("/cache".into())),
        );
        assert_eq!(
            (config.limits, config.max_total_bytes),
            (default.limits, default.max_total_bytes)
        );
    }

    #[test]
    fn an_invalid_number_is_refused_with_the_name_of_its_variable() {
        let refused =
            EnvironmentSettings::default().with_variables(|_| Some("4G".to_owned())).unwrap_err();
        assert!(refused.to_string().starts_with("BELLJAR_ENVIRONMENT_BYTES is `4G`"), "{refused}");
    }
}
