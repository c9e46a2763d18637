/// How long each step takes, in the order in which the steps were first seen.
public struct StepLatencies: Equatable, Sendable {
    /// A step with its latencies.
    public struct Step: Equatable, Sendable, Identifiable {
        /// What the step does.
        public let name: String
        /// How long it took.
        public internal(set) var latencies: LatencyStatistics

        /// The name.
        public var id: String { name }
    }

    /// Every step.
    public private(set) var steps: [Step] = []
    private let window: Int?

    /// Latencies of every run, or of the last `window` runs.
    public init(window: Int? = nil) {
        self.window = window
    }

    /// Adds a run of a step.
    public mutating func record(_ name: String, _ duration: Duration) {
        if let index = steps.firstIndex(where: { $0.name == name }) {
            steps[index].latencies.record(duration)
        } else {
            var latencies = LatencyStatistics(window: window)
            latencies.record(duration)
            steps.append(Step(name: name, latencies: latencies))
        }
    }

    /// Adds the time that `work` takes.
    public mutating func time<Result>(_ name: String, _ work: () throws -> Result) rethrows -> Result {
        let clock = ContinuousClock()
        let start = clock.now
        let result = try work()
        record(name, clock.now - start)
        return result
    }
}
