/// Keeps the masks of a sequence still where the picture is still, and lets them follow where it moves.
///
/// With the brightness I and P(person) p of frame t, the smoothed mask s is
///
///     motion = min(1, mean of |Iₜ − Iₜ₋₁| over a 5x5 window / motionContrast)
///     rate   = restRate + (1 − restRate)·motion
///     sₜ     = sₜ₋₁ + rate·(pₜ − sₜ₋₁)
///
/// A scene cut, where the brightness changes by more than `cutContrast` on average, starts over: sₜ = pₜ. Between any two
/// of the 32 calibration photographs the change is at least 0.155; a pan by 1.6 % of the width stays below 0.123, a step
/// of the exposure by 20 % below 0.141. A faster pan counts as a cut, and its masks come through as they are.
public struct TemporalSmoother: Equatable, Sendable {
    /// How much of a new mask counts where nothing moves, 0..1; 1 does not smooth.
    public var restRate: Float
    /// The change of brightness, 0..1, from which a new mask counts in full.
    public var motionContrast: Float
    /// The mean change of brightness, 0..1, beyond which a frame begins a new scene.
    public var cutContrast: Double

    private var previous: (mask: Plane, brightness: Plane)?

    /// A smoother that has not seen any frame.
    public init(restRate: Float = 0.2, motionContrast: Float = 0.06, cutContrast: Double = 0.15) {
        self.restRate = restRate
        self.motionContrast = motionContrast
        self.cutContrast = cutContrast
    }

    /// Smooths the mask of the sequence's next frame.
    ///
    /// - Parameters:
    ///   - mask: P(person) in 0..1.
    ///   - frame: what the mask was computed from, of the same size, three channels.
    /// - Returns: P(person) in 0..1, and whether a new scene begins with this frame.
    /// - Throws: `PortraitError.sizeMismatch` or `PortraitError.channels`.
    public mutating func smooth(
        _ mask: Plane, of frame: Picture
    ) throws(PortraitError) -> (mask: Plane, startsScene: Bool) {
        try frame.requireChannels(3, what: "frame")
        try mask.requireSize(frame.size, what: "mask")
        let brightness = frame.brightness
        guard let previous, previous.mask.size == mask.size else { return start(mask, brightness) }
        let change = brightness.combined(with: previous.brightness) { abs($0 - $1) }
        guard change.mean <= cutContrast else { return start(mask, brightness) }
        let (restRate, motionContrast) = (self.restRate, self.motionContrast)
        let rate = change.boxMean(Self.motionReach).map {
            restRate + (1 - restRate) * min(1, $0 / motionContrast)
        }
        let step = mask.combined(with: previous.mask, -).combined(with: rate, *)
        let smoothed = previous.mask.combined(with: step) { min(1, max(0, $0 + $1)) }
        self.previous = (smoothed, brightness)
        return (smoothed, false)
    }

    /// Forgets the sequence: the next frame begins a new one.
    public mutating func reset() { previous = nil }

    /// Pixels to each side over which motion is averaged, so that noise is not taken for motion.
    private static let motionReach = 2

    private mutating func start(_ mask: Plane, _ brightness: Plane) -> (mask: Plane, startsScene: Bool) {
        previous = (mask, brightness)
        return (mask, true)
    }

    /// Two smoothers are equal if they behave alike from here on.
    public static func == (left: TemporalSmoother, right: TemporalSmoother) -> Bool {
        left.restRate == right.restRate && left.motionContrast == right.motionContrast
            && left.cutContrast == right.cutContrast && left.previous?.mask == right.previous?.mask
            && left.previous?.brightness == right.previous?.brightness
    }
}

extension Plane {
    /// The mean of all values, in double precision.
    var mean: Double {
        values.reduce(0.0) { $0 + Double($1) } / Double(values.count)
    }
}
