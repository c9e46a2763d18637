extension Plane {
    /// 1 where the value is at least `threshold`, else 0.
    public func thresholded(at threshold: Float = 0.5) -> Plane {
        map { $0 >= threshold ? 1 : 0 }
    }

    /// A hard edge at `threshold`, softened by three box blurs of `radius`, which together are nearly Gaussian.
    ///
    /// - Parameters:
    ///   - radius: in pixels of the plane; below 0.5 the edge stays hard.
    ///   - threshold: P(person) from which a pixel is person.
    /// - Returns: values in 0..1; the edge stays where it is at 0.5.
    public func feathered(radius: Double, threshold: Float = 0.5) -> Plane {
        let hard = thresholded(at: threshold)
        return radius < 0.5 ? hard : hard.blurred(radius: radius).map { min(1, max(0, $0)) }
    }
}
