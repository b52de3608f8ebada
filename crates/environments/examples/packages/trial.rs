//! The test of one package: its environment is prepared, and its program is run in each way.
//!
//! A program's result is `{"value": ..., "random": [...]}`: the value is compared with the table,
//! and no two runs may draw the same numbers.

use std::collections::HashSet;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use belljar_engine::{Environment, EnvironmentSource, RunHost, SandboxSpec};
use belljar_environments::{
    Environments, PreparedEnvironment, Requirement, RunPackages, Tell, Wanted,
};
use belljar_protocol::{
    Outcome, PackageOptions, PackagePolicy, ProgramFile, ProgramName, RunError, RunRequest,
    StartMode, Status,
};

use crate::AnyError;
use crate::leftovers;
use crate::table::Row;

/// Runs of each way to fork.
const RUNS: usize = 3;
/// Time in which the leftovers of a run must disappear.
const CLEARED_WITHIN: Duration = Duration::from_secs(10);

/// Way in which a sandbox gets the packages' modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A runtime process that is started for the run imports the modules before the program starts.
    Cold,
    /// A parked sandbox, forked from a zygote without packages, has imported the modules itself.
    Sandbox,
    /// The sandbox is forked for the run from a zygote that has imported the modules.
    Zygote,
}

/// Results of the runs of one way.
#[derive(Clone, Debug, Default)]
pub struct Result {
    /// Milliseconds from the request to the outcome, of the runs with the right result.
    pub times_ms: Vec<f64>,
    /// Whether each run had the right result.
    pub passed: bool,
}

impl Result {
    pub fn p50_ms(&self) -> Option<f64> {
        let mut times = self.times_ms.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len().saturating_sub(1) / 2).copied()
    }
}

#[derive(Debug)]
pub struct Trial {
    pub row: Row,
    pub version: String,
    /// Number of packages that were installed with it.
    pub others: usize,
    pub install: Option<Duration>,
    pub size_bytes: u64,
    pub cold: Result,
    pub sandbox: Result,
    pub zygote: Result,
    /// Reason why the zygote did not import its modules.
    pub why_not_preloaded: Option<String>,
    pub failures: Vec<String>,
}

/// Provides the same environment to each run.
#[derive(Debug)]
struct Made(Arc<Environment>);

impl EnvironmentSource for Made {
    fn environment<'a>(
        &'a self,
        _request: &'a RunRequest,
        _tell: Tell,
    ) -> Pin<
        Box<
            dyn Future<Output = std::result::Result<Option<Arc<Environment>>, RunError>>
                + Send
                + 'a,
        >,
    > {
        Box::pin(async { Ok(Some(Arc::clone(&self.0))) })
    }
}

impl Trial {
    pub async fn run(row: Row, folder: &Path, environments: &Environments, tell: &Tell) -> Self {
        let mut trial = Self {
            row,
            version: String::new(),
            others: 0,
            install: None,
            size_bytes: 0,
            cold: Result::default(),
            sandbox: Result::default(),
            zygote: Result::default(),
            why_not_preloaded: None,
            failures: Vec::new(),
        };
        if let Err(error) = Box::pin(trial.try_all_ways(folder, environments, tell)).await {
            trial.failures.push(error.to_string());
        }
        trial
    }

    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    async fn try_all_ways(
        &mut self,
        folder: &Path,
        environments: &Environments,
        tell: &Tell,
    ) -> std::result::Result<(), AnyError> {
        let request = request(&self.row, folder)?;
        let wanted = wanted(&self.row, &request, environments).await?;
        let is_new = Arc::new(AtomicBool::new(false));
        let listening: Tell = {
            let (is_new, tell) = (Arc::clone(&is_new), Arc::clone(tell));
            Arc::new(move |line| {
                is_new.fetch_or(line.starts_with("installing"), Ordering::Relaxed);
                tell(line);
            })
        };
        let began = Instant::now();
        let prepared = environments.prepare(&wanted, &PackagePolicy::default(), &listening).await?;
        self.install = is_new.load(Ordering::Relaxed).then(|| began.elapsed());
        self.describe(&prepared);
        let trusting = PackagePolicy { trusted: vec!["*".into()], ..PackagePolicy::default() };
        let trusted = environments.prepare(&wanted, &trusting, tell).await?;
        let mut drawn = HashSet::new();
        for way in [Way::Cold, Way::Sandbox, Way::Zygote] {
            let environment = Arc::clone(if way == Way::Zygote {
                &trusted.environment
            } else {
                &prepared.environment
            });
            let result = self.try_way(way, &request, environment, environments, &mut drawn).await;
            match way {
                Way::Cold => self.cold = result,
                Way::Sandbox => self.sandbox = result,
                Way::Zygote => self.zygote = result,
            }
        }
        Ok(())
    }

    fn describe(&mut self, prepared: &PreparedEnvironment) {
        let packages = &prepared.record.packages;
        let own = packages.iter().find(|package| package.name.eq_ignore_ascii_case(&self.row.name));
        self.version = own.map(|package| package.version.clone()).unwrap_or_default();
        self.others = packages.len().saturating_sub(1);
        self.size_bytes = prepared.record.size_bytes;
    }

    async fn try_way(
        &mut self,
        way: Way,
        request: &RunRequest,
        environment: Arc<Environment>,
        environments: &Environments,
        drawn: &mut HashSet<String>,
    ) -> Result {
        let mut result = Result { passed: true, ..Result::default() };
        for _ in 0..if way == Way::Cold { 1 } else { RUNS } {
            match run_once(way, request, &environment, environments, &mut self.why_not_preloaded)
                .await
            {
                Ok((outcome, time)) => match judge(&self.row, way, &outcome, drawn) {
                    Ok(()) => result.times_ms.push(time.as_secs_f64() * 1e3),
                    Err(why) => {
                        result.passed = false;
                        self.failures.push(format!("{way:?}: {why}"));
                    }
                },
                Err(error) => {
                    result.passed = false;
                    self.failures.push(format!("{way:?}: {error}"));
                }
            }
        }
        environments.engine().forget_zygotes();
        if let Some(left) = leftovers::left_within(CLEARED_WITHIN).await {
            result.passed = false;
            self.failures.push(format!("{way:?}: left over: {left}"));
        }
        result
    }
}

/// Returns the request of a run without its environment.
pub fn request(row: &Row, folder: &Path) -> std::result::Result<RunRequest, AnyError> {
    let content = std::fs::read(folder.join(&row.program))?;
    let mut request = RunRequest::new(row.language(), "");
    let extension =
        Path::new(&row.program).extension().unwrap_or_default().to_string_lossy().into_owned();
    let entry = ProgramName::try_from(format!("main.{extension}").as_str())?;
    request.files = vec![ProgramFile { path: entry.clone(), content }];
    request.entry = entry;
    request.limits = row.limits();
    request.policy = row.policy();
    Ok(request)
}

/// Returns the packages that the program needs, from its imports and the table.
pub async fn wanted(
    row: &Row,
    request: &RunRequest,
    environments: &Environments,
) -> std::result::Result<Wanted, AnyError> {
    let packages = RunPackages::new(
        environments.clone(),
        Vec::new(),
        PackageOptions::default(),
        PackagePolicy::default(),
        None,
    );
    let found = packages.wanted(row.language(), None, StartMode::Auto, &request.files).await?;
    let mut wanted = found.ok_or("its imports name no package")?;
    if !wanted.requirements.iter().any(|requirement| requirement.name() == row.name) {
        return Err(format!("its imports lead to {:?}", wanted.requirements).into());
    }
    for text in &row.packages {
        wanted.requirements.push(Requirement::parse(row.ecosystem, text)?);
    }
    Ok(wanted)
}

async fn run_once(
    way: Way,
    request: &RunRequest,
    environment: &Arc<Environment>,
    environments: &Environments,
    why_not_preloaded: &mut Option<String>,
) -> std::result::Result<(Outcome, Duration), AnyError> {
    let engine = environments.engine();
    let runtime = engine.runtime(&request.language.default_runtime()).await?;
    let spec = SandboxSpec::new(runtime, &request.policy, &request.limits)?
        .with_environment(Some(Arc::clone(environment)));
    if way == Way::Sandbox {
        let sandbox = engine.sandbox(spec, StartMode::Fork).await?;
        let began = Instant::now();
        let finished = engine.execute(sandbox, request).await;
        return Ok((finished.outcome, began.elapsed()));
    }
    let mut request = request.clone();
    request.start = if way == Way::Cold { StartMode::Exec } else { StartMode::Fork };
    if way == Way::Zygote {
        // Boots the zygote.
        let sandbox = engine.sandbox(spec, StartMode::Fork).await?;
        *why_not_preloaded = sandbox.why_not_preloaded().map(str::to_owned);
        engine.discard(sandbox);
    }
    let host = RunHost {
        environments: Some(Arc::new(Made(Arc::clone(environment)))),
        ..RunHost::default()
    };
    let began = Instant::now();
    let finished = engine.run_with(request, host).finished().await;
    Ok((finished.outcome, began.elapsed()))
}

/// Detects, locks and installs the packages that the program imports, and runs it.
pub async fn run_as_the_command_does(
    row: &Row,
    folder: &Path,
    environments: &Environments,
) -> std::result::Result<Outcome, AnyError> {
    let packages = RunPackages::new(
        environments.clone(),
        Vec::new(),
        PackageOptions::default(),
        PackagePolicy::default(),
        None,
    );
    let host = RunHost { environments: Some(Arc::new(packages)), ..RunHost::default() };
    let mut request = request(row, folder)?;
    request.start = StartMode::Exec;
    Ok(environments.engine().run_with(request, host).finished().await.outcome)
}

fn judge(
    row: &Row,
    way: Way,
    outcome: &Outcome,
    drawn: &mut HashSet<String>,
) -> std::result::Result<(), String> {
    let logs: Vec<&str> = outcome.logs.iter().map(|log| log.message.as_str()).collect();
    if !logs.is_empty() {
        eprintln!("    {way:?} wrote {logs:?}");
    }
    eprintln!("    {way:?}: {}", serde_json::to_string(&outcome.usage).unwrap_or_default());
    if outcome.status != Status::Succeeded {
        let error = outcome
            .error
            .as_ref()
            .map(|error| format!("{}: {}\n{}", error.name, error.message, error.stack));
        return Err(format!(
            "{:?}: {}; it wrote {logs:?}",
            outcome.status,
            error.unwrap_or_default()
        ));
    }
    let result: serde_json::Value = outcome
        .value
        .as_ref()
        .and_then(|value| serde_json::from_str(value.get()).ok())
        .unwrap_or_default();
    let expected: serde_json::Value = serde_json::from_str(&row.expected).unwrap_or_default();
    if result["value"] != expected {
        return Err(format!("the value is {}, and not {expected}", result["value"]));
    }
    let numbers = result["random"].as_array().cloned().unwrap_or_default();
    if numbers.is_empty() {
        return Err("it drew no random number".into());
    }
    match numbers
        .iter()
        .enumerate()
        .find(|(index, number)| !drawn.insert(format!("{index}: {number}")))
    {
        Some((index, number)) => {
            Err(format!("random number {index} is {number}, as in another run"))
        }
        None => Ok(()),
    }
}
