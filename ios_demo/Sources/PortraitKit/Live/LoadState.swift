/// How far a package is on its way to its first mask.
public enum LoadState: Equatable, Sendable {
    /// Nothing is loaded.
    case none
    /// The package is being compiled or loaded. The first load on a device prepares it for its accelerator.
    case loading
    /// The first frame runs, so that the first photo need not wait for it.
    case warmingUp
    /// The package is ready.
    case ready(loading: Duration, warmUp: Duration)
    /// The package could not be loaded; the reason.
    case failed(String)

    /// Whether masks can be asked for.
    public var isReady: Bool {
        if case .ready = self { return true }
        return false
    }
}

extension SegmentationEngine {
    /// Runs the first frame of an engine that has just been loaded and gives the state that follows.
    ///
    /// - Parameter loading: how long loading took.
    public func readyState(loading: Duration) async -> LoadState {
        do {
            return .ready(loading: loading, warmUp: try await warmUp())
        } catch {
            return .failed("\(error)")
        }
    }
}
