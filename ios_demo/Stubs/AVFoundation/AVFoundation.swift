// STUB, for type-checking on Linux only: AVFoundation's declarations as published at developer.apple.com, without bodies.

@_exported import CoreMedia
import Dispatch

public struct AVMediaType: Hashable, Sendable { public static let video = AVMediaType() }
open class CALayer: NSObject {}
open class AVCaptureInput: NSObject {}
open class AVCaptureOutput: NSObject {
    open func connection(with mediaType: AVMediaType) -> AVCaptureConnection? { fatalError() }
}
open class AVCaptureConnection: NSObject {
    open func isVideoRotationAngleSupported(_ videoRotationAngle: CGFloat) -> Bool { fatalError() }
    open var videoRotationAngle: CGFloat = 0
}
open class AVCaptureDevice: NSObject {
    public struct DeviceType: Hashable, Sendable { public static let builtInWideAngleCamera = DeviceType() }
    public enum Position: Int, Sendable { case unspecified, back, front }
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
    open func addOutput(_ output: AVCaptureOutput) { fatalError() }
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
