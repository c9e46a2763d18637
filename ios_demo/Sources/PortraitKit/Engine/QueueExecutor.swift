import Dispatch

/// Runs an actor's work on a serial queue, where waiting for a process or an accelerator does not hold up other tasks.
public final class QueueExecutor: SerialExecutor {
    private let queue: DispatchQueue

    /// An executor with a queue of its own.
    ///
    /// - Parameter label: the queue's name in crash reports and Instruments.
    public init(label: String) {
        queue = DispatchQueue(label: label, qos: .userInitiated)
    }

    /// Runs a job of the actor after those that are waiting.
    public func enqueue(_ job: consuming ExecutorJob) {
        let unowned = UnownedJob(job)
        let executor = asUnownedSerialExecutor()
        queue.async { unowned.runSynchronously(on: executor) }
    }
}
