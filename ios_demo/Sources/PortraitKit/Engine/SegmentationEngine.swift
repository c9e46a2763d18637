/// Runs a package on frames: Core ML on Apple platforms, the toolkit's own runtime on Linux.
///
/// An engine may be called from any task; calls that it cannot run at once it runs one after the other.
public protocol SegmentationEngine: Sendable {
    /// What runs, and what it takes.
    var description: EngineDescription { get }

    /// P(person) of a frame.
    ///
    /// - Parameter frame: sRGB at one of `description.metadata.sizes`, with a depth map if the spec says so.
    /// - Returns: P(person) in 0..1 at the frame's size, whatever the package's own output is.
    /// - Throws: `PortraitError` with what was asked for and what was found.
    func probability(of frame: Frame) async throws(PortraitError) -> Plane
}

/// What an engine runs, and where.
public struct EngineDescription: Equatable, Sendable {
    /// The package's file name.
    public let package: String
    /// What computes, such as `Core ML, CPU and Neural Engine`.
    public let runtime: String
    /// What the package says about itself.
    public let metadata: PackageMetadata

    /// A description of an engine.
    public init(package: String, runtime: String, metadata: PackageMetadata) {
        self.package = package
        self.runtime = runtime
        self.metadata = metadata
    }
}

extension SegmentationEngine {
    /// Runs a black frame of the default size, so that the first photo does not wait for compilation and caches.
    ///
    /// - Returns: how long it took.
    @discardableResult
    public func warmUp() async throws(PortraitError) -> Duration {
        let spec = description.metadata.spec
        let image = Picture(
            whole: spec.size, channels: 3, samples: [UInt8](repeating: 0, count: spec.size.pixelCount * 3))
        let depth = spec.takesDepth ? Plane(size: spec.size, constant: 0) : nil
        let frame = try Frame(image: image, depth: depth)
        let clock = ContinuousClock()
        let start = clock.now
        _ = try await probability(of: frame)
        return clock.now - start
    }
}
