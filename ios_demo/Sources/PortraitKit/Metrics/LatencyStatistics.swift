/// How long something takes: the first runs apart, percentiles of the others.
public struct LatencyStatistics: Equatable, Sendable {
    /// How many of the first runs count as warm-up.
    public let warmUpCount: Int
    /// Milliseconds of the warm-up runs, in order.
    public private(set) var warmUp: [Double] = []
    /// Milliseconds of the other runs, in order.
    public private(set) var measured: [Double] = []

    private let window: Int?

    /// Statistics whose first `warmUpCount` runs are kept apart, of all others or of the last `window` of them.
    public init(warmUpCount: Int = 1, window: Int? = nil) {
        self.warmUpCount = max(0, warmUpCount)
        self.window = window.map { max(1, $0) }
    }

    /// Adds a run.
    public mutating func record(_ duration: Duration) {
        record(milliseconds: duration.milliseconds)
    }

    /// Adds a run of so many milliseconds.
    public mutating func record(milliseconds: Double) {
        if warmUp.count < warmUpCount {
            warmUp.append(milliseconds)
        } else {
            measured.append(milliseconds)
            if let window, measured.count > window { measured.removeFirst() }
        }
    }

    /// Adds the time that `work` takes.
    public mutating func time<Result>(_ work: () throws -> Result) rethrows -> Result {
        let clock = ContinuousClock()
        let start = clock.now
        let result = try work()
        record(clock.now - start)
        return result
    }

    /// The median in milliseconds; nil before anything is measured.
    public var p50: Double? { percentile(0.5) }
    /// 95 of 100 runs take at most so many milliseconds; nil before anything is measured.
    public var p95: Double? { percentile(0.95) }

    /// The value below which a share of the measured runs is, between two runs by linear interpolation.
    ///
    /// - Parameter share: 0..1.
    /// - Returns: milliseconds, as NumPy's `percentile` gives them; nil before anything is measured.
    public func percentile(_ share: Double) -> Double? {
        guard !measured.isEmpty else { return nil }
        let sorted = measured.sorted()
        let position = min(1, max(0, share)) * Double(sorted.count - 1)
        let below = Int(position)
        let above = min(below + 1, sorted.count - 1)
        let fraction = position - Double(below)
        let step = sorted[above] - sorted[below]
        return fraction < 0.5 ? sorted[below] + step * fraction : sorted[above] - step * (1 - fraction)
    }
}

extension Duration {
    /// The duration in milliseconds.
    public var milliseconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) * 1e3 + Double(attoseconds) * 1e-15
    }
}
