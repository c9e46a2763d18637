/// Whether two engines give the same masks for a package: the CPU and an accelerator, for example.
///
/// An accelerator that computes something else does so silently, so an app compares before it trusts it.
public struct SelfCheck: Equatable, Sendable {
    /// What one photograph showed.
    public struct Row: Equatable, Sendable, Identifiable {
        /// The photograph.
        public let name: String
        /// Mask IoU of the two engines, 0..1; NaN if either gives NaN.
        public let iou: Double
        /// Pixels of the frame that are person for one engine only.
        public let flippedPixels: Double

        /// The photograph.
        public var id: String { name }
    }

    /// The toolkit's bar for the worst image of an fp16 package.
    public static let leastIoU = 0.995
    /// Share of the frame's pixels that may flip where there is hardly a person, and IoU says little.
    public static let mostFlippedShare = 0.001

    /// The engine that is trusted.
    public let reference: String
    /// The engine that is checked.
    public let candidate: String
    /// One row for each photograph.
    public let rows: [Row]
    private let failures: Set<String>

    /// Runs both engines on photographs.
    ///
    /// - Parameters:
    ///   - reference: the engine that is trusted.
    ///   - candidate: the engine that is checked, with the same package.
    ///   - photos: upright photographs by name.
    /// - Throws: as `Segmenter.segment`.
    public init(
        _ reference: any SegmentationEngine, _ candidate: any SegmentationEngine,
        on photos: [(name: String, photo: Picture)]
    ) async throws(PortraitError) {
        self.reference = reference.description.runtime
        self.candidate = candidate.description.runtime
        let segmenter = Segmenter(engine: reference)
        var rows: [Row] = []
        var failures: Set<String> = []
        for (name, photo) in photos {
            let expected = try await segmenter.segment(photo)
            let found = try await candidate.probability(of: expected.frame)
            let threshold = Float(reference.description.metadata.spec.threshold)
            let metrics = try MaskMetrics(expected.frameMask, found, threshold: threshold)
            rows.append(Row(name: name, iou: metrics.iou, flippedPixels: metrics.flippedPixels))
            let flippedShare = metrics.flippedPixels / Double(found.size.pixelCount)
            if !(metrics.iou >= Self.leastIoU || flippedShare <= Self.mostFlippedShare) { failures.insert(name) }
        }
        self.rows = rows
        self.failures = failures
    }

    /// Whether every photograph passed; false without photographs.
    public var passed: Bool { !rows.isEmpty && failures.isEmpty }
    /// Whether one photograph passed.
    public func passed(_ row: Row) -> Bool { !failures.contains(row.name) }
    /// The photograph on which the masks agree least; one with NaN before all others.
    public var worst: Row? { rows.min { ($0.iou.isNaN ? -1 : $0.iou) < ($1.iou.isNaN ? -1 : $1.iou) } }
}
