/// The size of the frames that a camera hands to the app.
public enum CameraSize {
    /// The camera's format scaled so that its shorter side is the network's longer one, sides even, never enlarged.
    ///
    /// The camera scales in hardware, so that only pixels that the network sees are copied.
    ///
    /// - Parameters:
    ///   - network: the network's input size.
    ///   - format: the camera's own size.
    public static func scaled(for network: PixelSize, from format: PixelSize) -> PixelSize {
        let wanted = Double(max(network.height, network.width))
        let scale = min(1, wanted / Double(min(format.height, format.width)))
        return PixelSize(height: even(Double(format.height) * scale), width: even(Double(format.width) * scale))
    }

    private static func even(_ side: Double) -> Int { max(2, roundHalfToEven(side / 2) * 2) }
}
