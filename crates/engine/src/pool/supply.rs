//! The supply of sandboxes: a parked one if there is one, else a fork of a zygote, else a runtime
//! process of its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use belljar_protocol::StartMode;
use tokio::sync::OnceCell;

use super::parked::{ParkedSandboxes, Watch};
use super::parked_sandbox::{ParkedSandbox, Unfit};
use super::self_test::{self, SelfTest};
use super::strikes::Strikes;
use super::zygotes::{Found, Renewal, Zygotes};
use crate::config::EngineConfig;
use crate::error::{EngineError, NotReady};
use crate::process::Launcher;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use crate::spec::{SandboxKey, SandboxSpec};
use crate::zygote::Zygote;

/// Delay before a taken sandbox is replaced, unless others are missing, too: a fork would compete
/// for the processors with the run that has just started, and with the code that records its end.
const REPLACE_AFTER: Duration = Duration::from_millis(5);
/// Interval of the checks of stopped sandboxes, which is the longest time that a sandbox can run
/// after it has woken itself.
const WATCH_STOPPED_EVERY: Duration = Duration::from_secs(1);

/// Everything from which a run gets its sandbox.
#[derive(Debug)]
pub(crate) struct Supply {
    config: EngineConfig,
    launcher: Arc<Launcher>,
    zygotes: Zygotes,
    parked: ParkedSandboxes,
    strikes: Strikes,
    /// The result of the self-test of each runtime, by the runtime's identity.
    tested: Mutex<HashMap<String, Arc<OnceCell<SelfTest>>>>,
    is_closing: AtomicBool,
    /// Set while a task watches the stopped sandboxes.
    is_watching: AtomicBool,
}

impl Supply {
    pub(crate) fn new(config: EngineConfig, launcher: Arc<Launcher>) -> Arc<Self> {
        let renewal = Renewal { forks: config.zygote_forks, age_s: config.zygote_age_s };
        Arc::new(Self {
            config,
            zygotes: Zygotes::new(Arc::clone(&launcher), renewal),
            launcher,
            parked: ParkedSandboxes::default(),
            strikes: Strikes::default(),
            tested: Mutex::default(),
            is_closing: AtomicBool::new(false),
            is_watching: AtomicBool::new(false),
        })
    }

    /// Returns a ready sandbox. If modules that are preloaded keep it from getting ready, returns
    /// one without preloaded modules, so that the program itself runs into the problem.
    pub(crate) async fn sandbox(
        self: &Arc<Self>,
        spec: SandboxSpec,
        start: StartMode,
    ) -> Result<Sandbox, EngineError> {
        let Some(without_modules) = spec.without_modules() else {
            return self.ready_sandbox(spec, start).await;
        };
        let key = spec.zygote_key();
        if self.strikes.is_out(&key) {
            return self.ready_sandbox(without_modules, start).await;
        }
        match self.ready_sandbox(spec, start).await {
            Err(error) if error.is_retryable() && !self.is_closing() => {
                self.strikes.strike(key);
                self.ready_sandbox(without_modules, start).await
            }
            sandbox => sandbox,
        }
    }

    /// Parks sandboxes of a spec in advance, until there are `count`.
    pub(crate) async fn park(
        self: &Arc<Self>,
        spec: &SandboxSpec,
        count: usize,
    ) -> Result<(), EngineError> {
        while self.parked(spec) < count {
            let sandbox = self.fresh(spec.clone(), StartMode::Auto).await?;
            let parked = self.hold(sandbox).await.map_err(NotReady::CannotWait)?;
            drop(self.parked.park(spec.key(), parked, self.config.parked_memory_bytes));
        }
        Ok(())
    }

    /// Returns the number of parked sandboxes of a spec.
    pub(crate) fn parked(&self, spec: &SandboxSpec) -> usize {
        self.parked.count(&spec.key())
    }

    /// Ends all zygotes and parked sandboxes. The next run boots a new zygote.
    pub(crate) fn clear(&self) {
        let gone = self.parked.take_all();
        self.zygotes.clear();
        drop(gone);
    }

    /// Refuses all further sandboxes.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    /// Runs the self-test of a runtime now, and stores its result.
    pub(crate) async fn self_test(
        self: &Arc<Self>,
        runtime: &Arc<Runtime>,
    ) -> Result<SelfTest, EngineError> {
        let spec = self_test::spec(runtime)?;
        let zygote = self.zygote(&spec).await?;
        let result = self_test::run(&self.launcher, &zygote, runtime, spec).await?;
        self_test::remember(&self.config.provision.cache, runtime, &result);
        Ok(result)
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Returns a parked sandbox if there is one, else a fresh one, and starts the replacement of
    /// the parked one.
    async fn ready_sandbox(
        self: &Arc<Self>,
        spec: SandboxSpec,
        start: StartMode,
    ) -> Result<Sandbox, EngineError> {
        if start == StartMode::Exec || self.config.parked == 0 {
            return self.fresh(spec, start).await;
        }
        let parked = self.take_parked(&spec.key());
        let (supply, wanted) = (Arc::clone(self), spec.clone());
        let teardown = self.launcher.teardown();
        tokio::spawn(async move {
            if supply.parked(&wanted) + 1 >= supply.config.parked {
                tokio::time::sleep(REPLACE_AFTER).await;
            }
            supply.refill(wanted).await;
            drop((supply, teardown));
        });
        match parked {
            Some(sandbox) => Ok(sandbox),
            None => self.fresh(spec, start).await,
        }
    }

    async fn refill(self: &Arc<Self>, spec: SandboxSpec) {
        if let Some(place) = self.parked.reserve(spec.key(), self.config.parked)
            && let Ok(sandbox) = self.fresh(spec, StartMode::Auto).await
            && let Ok(parked) = self.hold(sandbox).await
            && !self.is_closing()
        {
            drop(place.park(parked, self.config.parked_memory_bytes));
        }
    }

    /// Returns a usable sandbox of the pool.
    fn take_parked(&self, key: &SandboxKey) -> Option<Sandbox> {
        loop {
            let parked = self.parked.take(key)?;
            let was_held = parked.is_held();
            match parked.wake() {
                Ok(sandbox) => {
                    if was_held {
                        self.strikes.forgive(key.zygote_key());
                    }
                    return Some(sandbox);
                }
                Err(unfit) => self.strike(&unfit),
            }
        }
    }

    /// Holds a sandbox still for the pool. A sandbox that cannot be held is ended, and the reason
    /// is returned.
    async fn hold(self: &Arc<Self>, sandbox: Sandbox) -> Result<ParkedSandbox, &'static str> {
        match ParkedSandbox::begin(sandbox).await {
            Ok(parked) => {
                if parked.can_stir() {
                    self.watch_the_stopped();
                }
                Ok(parked)
            }
            Err(unfit) => {
                self.strike(&unfit);
                Err(unfit.why)
            }
        }
    }

    /// Records that packages have made a sandbox unusable. If they do so repeatedly, they are no
    /// longer preloaded.
    fn strike(&self, unfit: &Unfit) {
        self.strikes.strike(unfit.sandbox.spec.zygote_key());
    }

    /// Ends stopped sandboxes that have woken themselves, as long as any are parked.
    fn watch_the_stopped(self: &Arc<Self>) {
        if self.is_watching.swap(true, Ordering::AcqRel) {
            return;
        }
        let weak = Arc::downgrade(self);
        self.launcher.spawn(async move {
            loop {
                tokio::time::sleep(WATCH_STOPPED_EVERY).await;
                let Some(supply) = weak.upgrade() else { return };
                // Before looking at the pool, so that a sandbox that is parked from now on starts
                // another watch.
                supply.is_watching.store(false, Ordering::Release);
                let looking = Arc::clone(&supply);
                let looked =
                    tokio::task::spawn_blocking(move || looking.parked.take_stirred()).await;
                let Ok((gone, struck, watch)) = looked else { return };
                for key in struck {
                    supply.strikes.strike(key);
                }
                drop(gone);
                if watch == Watch::Ends || supply.is_watching.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }

    async fn fresh(
        self: &Arc<Self>,
        spec: SandboxSpec,
        start: StartMode,
    ) -> Result<Sandbox, EngineError> {
        if self.is_closing() {
            return Err(EngineError::ShuttingDown);
        }
        if start == StartMode::Exec {
            return self.exec(spec).await;
        }
        let tested = self.tested(&spec.runtime).await?;
        if !tested.passed() {
            return match start {
                StartMode::Fork => Err(EngineError::CannotFork {
                    runtime: tested.runtime.clone(),
                    why: tested.failures(),
                }),
                _ => self.exec(spec).await,
            };
        }
        let zygote = self.zygote(&spec).await?;
        Sandbox::fork(&self.launcher, &zygote, spec).await
    }

    /// Starts a sandbox with a runtime process of its own. This happens in a separate task, which
    /// continues if the caller gives up, and then drops the sandbox.
    async fn exec(&self, spec: SandboxSpec) -> Result<Sandbox, EngineError> {
        let (launcher, teardown) = (Arc::clone(&self.launcher), self.launcher.teardown());
        // In one tuple: if the result is not taken, the sandbox is dropped first.
        let made = tokio::spawn(async move { (Sandbox::exec(&launcher, spec).await, teardown) });
        made.await
            .map_err(|_| EngineError::Internal("the task that launches the sandbox panicked"))?
            .0
    }

    async fn zygote(&self, spec: &SandboxSpec) -> Result<Arc<Zygote>, EngineError> {
        self.parked.forget_dead();
        let found = self.zygotes.get(spec).await;
        let Found { zygote, is_new } = found.inspect_err(|_| self.parked.forget_dead())?;
        if is_new {
            let gone = self.zygotes.evict(self.config.zygote_memory_bytes, &spec.zygote_key());
            drop(self.parked.take_forks_of(&gone));
        }
        Ok(zygote)
    }

    /// Returns the stored result of a runtime's self-test, or runs the test.
    async fn tested(self: &Arc<Self>, runtime: &Arc<Runtime>) -> Result<SelfTest, EngineError> {
        let cell = Arc::clone(
            self.tested
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(runtime.identity.clone())
                .or_default(),
        );
        let test = || async {
            match self_test::recall(&self.config.provision.cache, runtime) {
                Some(known) => Ok(known),
                None => self.self_test(runtime).await,
            }
        };
        cell.get_or_try_init(test).await.cloned()
    }
}
