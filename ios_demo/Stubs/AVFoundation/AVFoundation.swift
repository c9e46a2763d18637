// STUB, for type-checking on Linux only: AVFoundation's declarations as published at developer.apple.com, without bodies.

@_exported import CoreMedia
@_exported import QuartzCore
import Dispatch

public struct AVMediaType: Hashable, Sendable {
    public static let video = AVMediaType()
    public static let depthData = AVMediaType()
}
open class AVCaptureInput: NSObject {}
open class AVCaptureOutput: NSObject {
    open func connection(with mediaType: AVMediaType) -> AVCaptureConnection? { fatalError() }
}
open class AVCaptureConnection: NSObject {
    open func isVideoRotationAngleSupported(_ videoRotationAngle: CGFloat) -> Bool { fatalError() }
    open var videoRotationAngle: CGFloat = 0
    open var isVideoMirroringSupported: Bool { fatalError() }
    open var automaticallyAdjustsVideoMirroring = true
    open var isVideoMirrored = false
}
open class AVCaptureDevice: NSObject {
    public struct DeviceType: Hashable, Sendable {
        public static let builtInWideAngleCamera = DeviceType()
        public static let builtInTrueDepthCamera = DeviceType()
    }
    public enum Position: Int, Sendable { case unspecified, back, front }
    open var position: Position { fatalError() }
    open class func requestAccess(for mediaType: AVMediaType) async -> Bool { fatalError() }
    open class func `default`(
        _ deviceType: DeviceType, for mediaType: AVMediaType?, position: Position
    ) -> AVCaptureDevice? { fatalError() }
    open class func `default`(for mediaType: AVMediaType) -> AVCaptureDevice? { fatalError() }
    open class RotationCoordinator: NSObject {
        public init(device: AVCaptureDevice, previewLayer: CALayer?) { fatalError() }
        open var videoRotationAngleForHorizonLevelCapture: CGFloat { fatalError() }
    }
}
open class AVCaptureDeviceInput: AVCaptureInput {
    public init(device: AVCaptureDevice) throws { fatalError() }
}
open class AVCaptureSession: NSObject {
    public struct Preset: Hashable, Sendable { public static let hd1280x720 = Preset() }
    public override init() {}
    open var sessionPreset = Preset()
    open var inputs: [AVCaptureInput] { fatalError() }
    open var outputs: [AVCaptureOutput] { fatalError() }
    open func addInput(_ input: AVCaptureInput) { fatalError() }
    open func removeInput(_ input: AVCaptureInput) { fatalError() }
    open func canAddOutput(_ output: AVCaptureOutput) -> Bool { fatalError() }
    open func addOutput(_ output: AVCaptureOutput) { fatalError() }
    open func removeOutput(_ output: AVCaptureOutput) { fatalError() }
    open func beginConfiguration() { fatalError() }
    open func commitConfiguration() { fatalError() }
    open func startRunning() { fatalError() }
    open func stopRunning() { fatalError() }
}
public protocol AVCaptureVideoDataOutputSampleBufferDelegate: AnyObject {
    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection)
}
open class AVCaptureVideoDataOutput: AVCaptureOutput {
    public override init() {}
    open var videoSettings: [String: Any]! = [:]
    open var alwaysDiscardsLateVideoFrames = true
    open func setSampleBufferDelegate(
        _ sampleBufferDelegate: (any AVCaptureVideoDataOutputSampleBufferDelegate)?, queue: DispatchQueue?
    ) { fatalError() }
}

public struct AVLayerVideoGravity: Hashable, Sendable { public static let resizeAspect = AVLayerVideoGravity() }
open class AVCaptureVideoPreviewLayer: CALayer {
    open var session: AVCaptureSession?
    open var connection: AVCaptureConnection? { fatalError() }
    open var videoGravity = AVLayerVideoGravity()
}

open class AVDepthData: NSObject {
    open func converting(toDepthDataType depthDataType: OSType) -> Self { fatalError() }
    open var depthDataMap: CVPixelBuffer { fatalError() }
}
open class AVCaptureDepthDataOutput: AVCaptureOutput {
    public override init() {}
    open var isFilteringEnabled = true
    open var alwaysDiscardsLateDepthData = true
}
open class AVCaptureSynchronizedData: NSObject {}
open class AVCaptureSynchronizedSampleBufferData: AVCaptureSynchronizedData {
    open var sampleBuffer: CMSampleBuffer { fatalError() }
    open var sampleBufferWasDropped: Bool { fatalError() }
}
open class AVCaptureSynchronizedDepthData: AVCaptureSynchronizedData {
    open var depthData: AVDepthData { fatalError() }
    open var depthDataWasDropped: Bool { fatalError() }
}
open class AVCaptureSynchronizedDataCollection: NSObject {
    open func synchronizedData(for captureOutput: AVCaptureOutput) -> AVCaptureSynchronizedData? { fatalError() }
}
public protocol AVCaptureDataOutputSynchronizerDelegate: NSObjectProtocol {
    func dataOutputSynchronizer(
        _ synchronizer: AVCaptureDataOutputSynchronizer,
        didOutput synchronizedDataCollection: AVCaptureSynchronizedDataCollection)
}
open class AVCaptureDataOutputSynchronizer: NSObject {
    public init(dataOutputs: [AVCaptureOutput]) { fatalError() }
    open func setDelegate(
        _ delegate: (any AVCaptureDataOutputSynchronizerDelegate)?, queue delegateCallbackQueue: DispatchQueue?
    ) { fatalError() }
}
