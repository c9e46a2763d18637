@preconcurrency import AVFoundation
import CoreVideo
import PortraitCoreML
import PortraitKit
import os

/// The camera: a session with a 720p preview, and frames at about the network's size, of which the latest wins.
actor Camera {
    enum Failure: Error { case notAllowed, none, noDepth, notUsable(String) }

    /// For a preview layer.
    nonisolated let preview: PreviewSource
    private let session: AVCaptureSession
    private let video = AVCaptureVideoDataOutput()
    private let depth = AVCaptureDepthDataOutput()
    private var synchronizer: AVCaptureDataOutputSynchronizer?
    private var rotation: AVCaptureDevice.RotationCoordinator?
    private var receiver: FrameReceiver?

    init() {
        session = AVCaptureSession()
        preview = PreviewSource(session)
    }

    /// Starts the camera.
    ///
    /// - Parameters:
    ///   - network: the network's input size.
    ///   - measuresDepth: every frame comes with a depth map, from the front camera that can measure it.
    /// - Throws: `Camera.Failure`.
    func start(for network: PixelSize, measuresDepth: Bool) async throws -> FrameSlot {
        guard await AVCaptureDevice.requestAccess(for: .video) else { throw Failure.notAllowed }
        let device = try measuresDepth ? Self.depthCamera() : Self.camera()
        let frames = FrameSlot()
        let receiver = FrameReceiver(frames, video, measuresDepth ? depth : nil)
        do {
            try configure(device, receiver, network)
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure.notUsable("\(error)")
        }
        self.receiver = receiver
        rotation = AVCaptureDevice.RotationCoordinator(device: device, previewLayer: nil)
        mirror(device.position == .front)
        turn()
        session.startRunning()
        return frames
    }

    /// Turns frames and depth maps as the device is held, and gives the angle in degrees.
    @discardableResult
    func turn() -> CGFloat? {
        guard let angle = rotation?.videoRotationAngleForHorizonLevelCapture else { return nil }
        for connection in connections where connection.videoRotationAngle != angle {
            if connection.isVideoRotationAngleSupported(angle) { connection.videoRotationAngle = angle }
        }
        return angle
    }

    func stop() {
        session.stopRunning()
        synchronizer = nil
        receiver?.finish()
        receiver = nil
    }

    private static func camera() throws -> AVCaptureDevice {
        guard
            let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .front)
                ?? AVCaptureDevice.default(for: .video)
        else { throw Failure.none }
        return device
    }

    private static func depthCamera() throws -> AVCaptureDevice {
        guard let device = AVCaptureDevice.default(.builtInTrueDepthCamera, for: .video, position: .front) else {
            throw Failure.noDepth
        }
        return device
    }

    private var connections: [AVCaptureConnection] {
        [video.connection(with: .video), depth.connection(with: .depthData)].compactMap { $0 }
    }

    /// The preview of a front camera is a mirror, so the frames below the mask must be too.
    private func mirror(_ isMirrored: Bool) {
        for connection in connections where connection.isVideoMirroringSupported {
            connection.automaticallyAdjustsVideoMirroring = false
            connection.isVideoMirrored = isMirrored
        }
    }

    private func configure(_ device: AVCaptureDevice, _ receiver: FrameReceiver, _ network: PixelSize) throws {
        session.beginConfiguration()
        defer { session.commitConfiguration() }
        for input in session.inputs { session.removeInput(input) }
        for output in session.outputs { session.removeOutput(output) }
        session.sessionPreset = .hd1280x720
        session.addInput(try AVCaptureDeviceInput(device: device))
        let size = CameraSize.scaled(for: network, from: PixelSize(height: 720, width: 1280))
        video.videoSettings = [
            kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA,
            kCVPixelBufferWidthKey as String: size.width, kCVPixelBufferHeightKey as String: size.height,
        ]
        video.alwaysDiscardsLateVideoFrames = true
        session.addOutput(video)
        guard receiver.depth != nil else {
            video.setSampleBufferDelegate(receiver, queue: receiver.queue)
            return
        }
        guard session.canAddOutput(depth) else { throw Failure.noDepth }
        session.addOutput(depth)
        depth.isFilteringEnabled = true  // fills what could not be measured
        depth.alwaysDiscardsLateDepthData = true
        video.setSampleBufferDelegate(nil, queue: nil)
        let synchronizer = AVCaptureDataOutputSynchronizer(dataOutputs: [video, depth])
        synchronizer.setDelegate(receiver, queue: receiver.queue)
        self.synchronizer = synchronizer
    }
}

/// A session to be connected to a preview layer on the main actor, while the camera configures it on its own.
///
/// AVFoundation allows that; the session is not declared Sendable, hence the lock's unchecked functions.
struct PreviewSource: Sendable {
    private let session: OSAllocatedUnfairLock<AVCaptureSession>

    init(_ session: AVCaptureSession) { self.session = OSAllocatedUnfairLock(uncheckedState: session) }

    @MainActor func connect(to layer: AVCaptureVideoPreviewLayer) {
        session.withLockUnchecked { layer.session = $0 }
    }
}

/// Puts the camera's frames into a slot; with depth, only frames whose depth map arrived.
private final class FrameReceiver: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate,
    AVCaptureDataOutputSynchronizerDelegate
{
    let queue = DispatchQueue(label: "Camera", qos: .userInitiated)
    let depth: AVCaptureDepthDataOutput?
    private let video: AVCaptureVideoDataOutput
    private let frames: FrameSlot

    init(_ frames: FrameSlot, _ video: AVCaptureVideoDataOutput, _ depth: AVCaptureDepthDataOutput?) {
        self.frames = frames
        self.video = video
        self.depth = depth
    }

    func finish() { frames.finish() }

    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        if let pixels = CMSampleBufferGetImageBuffer(sampleBuffer) { frames.put(pixels) }
    }

    func dataOutputSynchronizer(
        _ synchronizer: AVCaptureDataOutputSynchronizer,
        didOutput synchronizedDataCollection: AVCaptureSynchronizedDataCollection
    ) {
        guard let depth,
            let frame = synchronizedDataCollection.synchronizedData(for: video)
                as? AVCaptureSynchronizedSampleBufferData,
            let measured = synchronizedDataCollection.synchronizedData(for: depth) as? AVCaptureSynchronizedDepthData,
            !frame.sampleBufferWasDropped, !measured.depthDataWasDropped,
            let pixels = CMSampleBufferGetImageBuffer(frame.sampleBuffer),
            let plane = try? measured.depthData.converting(toDepthDataType: kCVPixelFormatType_DisparityFloat32)
                .depthDataMap.depthPlane()
        else { return }
        frames.put(pixels, depth: plane)
    }
}
