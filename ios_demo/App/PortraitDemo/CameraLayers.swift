@preconcurrency import AVFoundation
import QuartzCore
import SwiftUI
import UIKit

/// The camera's own preview at 720p, and above it the layer into which masks are drawn.
final class CameraLayers: UIView {
    /// Drawn into from another thread, through `LiveRenderer`.
    let drawn = CAMetalLayer()
    private let preview = AVCaptureVideoPreviewLayer()

    override init(frame: CGRect) {
        super.init(frame: frame)
        preview.videoGravity = .resizeAspect
        layer.addSublayer(preview)
        layer.addSublayer(drawn)
    }

    required init?(coder: NSCoder) { nil }

    override func layoutSubviews() {
        super.layoutSubviews()
        preview.frame = bounds
        drawn.frame = bounds
    }

    /// Shows a camera below what is drawn.
    func show(_ source: PreviewSource) { source.connect(to: preview) }

    /// Turns the preview as the drawn frames are turned, and hides it where the drawn picture replaces it.
    func arrange(angle: CGFloat?, look: ShownLook) {
        preview.isHidden = look != .overlay
        guard let angle, let connection = preview.connection, connection.videoRotationAngle != angle,
            connection.isVideoRotationAngleSupported(angle)
        else { return }
        connection.videoRotationAngle = angle
    }
}

/// Puts the layers on the screen.
struct CameraView: UIViewRepresentable {
    let layers: CameraLayers

    func makeUIView(context: Context) -> CameraLayers { layers }
    func updateUIView(_ uiView: CameraLayers, context: Context) {}
}
