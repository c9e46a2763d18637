extension Plane {
    /// Distance, in metres, of what is white in a depth map from the camera. Depth cameras for faces begin at about this.
    public static let whiteMeters: Float = 0.25

    /// A depth map as depth models take it, from a camera's disparity: 0..1, larger is nearer.
    ///
    ///     depth = min(1, disparity · white)
    ///
    /// What the camera could not measure (NaN, infinite, 0 or less) is 0, as if it were far away.
    ///
    /// - Parameters:
    ///   - disparity: 1/metres.
    ///   - whiteMeters: the distance that becomes 1; what is nearer is 1 as well.
    public init(disparity: Plane, whiteMeters: Float = Plane.whiteMeters) {
        self = disparity.map { $0.isFinite && $0 > 0 ? min(1, $0 * whiteMeters) : 0 }
    }
}
