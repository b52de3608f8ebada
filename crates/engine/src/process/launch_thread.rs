//! The launching thread. The processes that it launches die with it (`PR_SET_PDEATHSIG` refers to
//! the parent *thread*), so it lives as long as the engine, unlike the threads of an async runtime.

use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(super) struct LaunchThread {
    jobs: mpsc::Sender<Job>,
}

impl LaunchThread {
    pub(super) fn start() -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("belljar-launch".into())
            .spawn(move || queue.into_iter().for_each(|job| job()))?;
        Ok(Self { jobs })
    }

    /// Runs `job` on the thread. `None` if it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        self.jobs.send(Box::new(move || drop(done.send(job())))).ok()?;
        result.await.ok()
    }
}
