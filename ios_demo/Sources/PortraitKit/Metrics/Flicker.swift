/// How much the masks of a sequence change from frame to frame.
public enum Flicker {
    /// The mean of |mₜ − mₜ₋₁| over all pixels and pairs of consecutive frames, 0..1; 0 for fewer than two masks.
    ///
    /// Over a still scene every change is flicker.
    ///
    /// - Throws: `PortraitError.sizeMismatch` if the masks are not of one size.
    public static func of(_ masks: [Plane]) throws(PortraitError) -> Double {
        guard masks.count > 1 else { return 0 }
        var sum = 0.0
        for (before, after) in zip(masks, masks.dropFirst()) {
            try after.requireSize(before.size, what: "mask")
            sum += before.meanAbsoluteDifference(to: after)
        }
        return sum / Double(masks.count - 1)
    }
}
