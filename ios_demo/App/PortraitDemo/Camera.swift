@preconcurrency import AVFoundation
import CoreVideo
import PortraitCoreML
import PortraitKit

/// The camera as a stream of pictures, of which the latest wins.
///
/// The session delivers frames at about the network's size, upright; what arrives while one is worked on is dropped.
actor Camera {
    enum Failure: Error { case notAllowed, none, notUsable(String) }

    private let session = AVCaptureSession()
    private let output = AVCaptureVideoDataOutput()
    private var rotation: AVCaptureDevice.RotationCoordinator?
    private var receiver: FrameReceiver?

    /// Starts the camera.
    ///
    /// - Parameter network: the network's input size.
    /// - Throws: `Camera.Failure`.
    func start(for network: PixelSize) async throws -> AsyncStream<Picture> {
        guard await AVCaptureDevice.requestAccess(for: .video) else { throw Failure.notAllowed }
        guard
            let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .front)
                ?? AVCaptureDevice.default(for: .video)
        else { throw Failure.none }
        let (frames, continuation) = AsyncStream.makeStream(of: Picture.self, bufferingPolicy: .bufferingNewest(1))
        let receiver = FrameReceiver(continuation)
        do {
            try configure(device, receiver, network)
        } catch {
            throw Failure.notUsable("\(error)")
        }
        self.receiver = receiver
        rotation = AVCaptureDevice.RotationCoordinator(device: device, previewLayer: nil)
        turn()
        session.startRunning()
        return frames
    }

    /// Turns the frames as the device is held.
    func turn() {
        guard let rotation, let connection = output.connection(with: .video) else { return }
        let angle = rotation.videoRotationAngleForHorizonLevelCapture
        if connection.isVideoRotationAngleSupported(angle) { connection.videoRotationAngle = angle }
    }

    func stop() {
        session.stopRunning()
        receiver?.finish()
        receiver = nil
    }

    private func configure(_ device: AVCaptureDevice, _ receiver: FrameReceiver, _ network: PixelSize) throws {
        session.beginConfiguration()
        defer { session.commitConfiguration() }
        for input in session.inputs { session.removeInput(input) }
        session.sessionPreset = .hd1280x720
        session.addInput(try AVCaptureDeviceInput(device: device))
        let size = CameraSize.scaled(for: network, from: PixelSize(height: 720, width: 1280))
        output.videoSettings = [
            kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA,
            kCVPixelBufferWidthKey as String: size.width, kCVPixelBufferHeightKey as String: size.height,
        ]
        output.alwaysDiscardsLateVideoFrames = true
        output.setSampleBufferDelegate(receiver, queue: receiver.queue)
        if session.outputs.isEmpty { session.addOutput(output) }
    }
}

/// Copies the camera's frames into pictures, which may cross threads; pixel buffers may not.
private final class FrameReceiver: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate {
    let queue = DispatchQueue(label: "Camera", qos: .userInitiated)
    private let continuation: AsyncStream<Picture>.Continuation

    init(_ continuation: AsyncStream<Picture>.Continuation) {
        self.continuation = continuation
    }

    func finish() { continuation.finish() }

    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        guard let buffer = CMSampleBufferGetImageBuffer(sampleBuffer), let picture = try? Picture(bgra: buffer) else {
            return
        }
        continuation.yield(picture)
    }
}
